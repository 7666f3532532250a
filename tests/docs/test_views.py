"""docs/views.md has every view with exactly the columns that the program gives it."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.analyses import open_store
from orchestrator.views.column_docs import view_docs
from tests.docs.pages import read, sections, table_rows

SECTIONS = dict(sections(read("docs/views.md")))
SHARED = "Shared columns"


def columns(cell: str) -> list[str]:
    """The columns that the first cell of a row names; ± adds the ends and the method."""
    found: list[str] = []
    for name, with_interval in re.findall(r"`(\w+)`( ±)?", cell):
        ends = ("", "_low", "_high", "_method") if with_interval else ("",)
        found += [f"{name}{end}" for end in ends]
    return found


def named(view: str) -> list[str]:
    """The columns that a view's section names, in its first table and as shared."""
    text = SECTIONS[view]
    shared = re.search(r"^Shared: (.+?)\.$", text, re.MULTILINE | re.DOTALL)
    first_table = re.split(r"^\| curve ", text, flags=re.MULTILINE)[0]
    rows = [columns(row[0]) for row in table_rows(first_table)]
    return [*(columns(shared[1]) if shared else []), *(c for row in rows for c in row)]


def test_the_page_has_every_view_and_no_other(tmp_path: Path) -> None:
    assert set(SECTIONS) - {SHARED} == set(open_store(str(tmp_path)).names())


def test_every_column_is_explained_once_and_none_is_made_up(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for view in store.names():
        assert sorted(named(view)) == sorted(store[view].column_names), view


def test_ls_views_has_every_column_with_a_sentence(tmp_path: Path) -> None:
    store, docs = open_store(str(tmp_path)), view_docs()
    assert docs.keys() == set(store.names())
    for view in store.names():
        assert sorted(c.column for c in docs[view].columns) == sorted(store[view].column_names)
        assert all(column.meaning for column in docs[view].columns), view
        assert docs[view].about.endswith((".", "?")), view


def test_a_shared_column_is_explained() -> None:
    explained = {c for row in table_rows(SECTIONS[SHARED]) for c in columns(row[0])}
    for view, text in SECTIONS.items():
        shared = re.search(r"^Shared: (.+?)\.$", text, re.MULTILINE | re.DOTALL)
        assert shared is None or set(columns(shared[1])) <= explained, view
