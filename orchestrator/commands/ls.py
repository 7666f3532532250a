"""``segprint ls``: the choices of a kind, or the stored studies."""

from __future__ import annotations

import ast
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import cluster
import search_spaces
from orchestrator import analyses
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, say
from orchestrator.formatting import size
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import trial_state
from orchestrator.tables.disk_use import DiskUse, disk_use
from orchestrator.views.column_docs import view_docs
from trainables import part
from trainables.parsing import parse_part
from trainables.schemas import SCHEMAS

KINDS = (*part.KINDS, "fields", "spaces", "clusters", "analyses", "views", "studies")


def main(options: Namespace) -> int:
    """Print the kinds, or the choices of one."""
    if options.part is not None and options.kind not in ("fields", "views"):
        raise ValueError(
            f"ls {options.kind} {options.part}: only `ls fields` and `ls views` take a second name"
        )
    kinds = [{"name": k} for k in KINDS]
    rows = kinds if options.kind is None else choices(options.kind, options)
    shown = {"name": "name", "about": "about"} if rows and "columns" in rows[0] else None
    emit(rows, shown, options.json, every=options.all)
    if options.kind == "studies" and not rows and not options.json:
        say(f"no study in {ledger_of(options).store.url}")
    return 0


def choices(kind: str, options: Namespace) -> list[dict[str, Any]]:
    """Return the choices of a kind, each with the first line of its docstring."""
    if kind in part.KINDS:
        return _parts(kind)
    listings = {
        "fields": lambda: _fields(options.part),
        "spaces": lambda: _about(search_spaces.names(), search_spaces.summary),
        "clusters": lambda: _about(cluster.names(), lambda n: _doc(cluster.source_file(n))),
        "analyses": lambda: _about(analyses.names(), lambda n: _doc(analyses.HERE / f"{n}.py")),
        "views": lambda: _views(options.part),
        "studies": lambda: _studies(ledger_of(options), as_json=options.json),
    }
    if kind not in listings:
        raise part.unknown("kind", kind, KINDS)
    return listings[kind]()


def _about(names: Iterable[str], text: Callable[[str], str]) -> list[dict[str, Any]]:
    return [{"name": name, "about": text(name)} for name in names]


def _parts(kind: str) -> list[dict[str, Any]]:
    published = _published() if kind == "models" else {}
    return [
        {"name": n, **published.get(n, {}), "about": part.summary(kind, n)}
        for n in part.names(kind)
    ]


def _fields(of: str | None) -> list[dict[str, Any]]:
    """Return the fields of a block or part of configs; this imports torch."""
    from trainables.field_docs import fields_of

    return [row._asdict() for row in fields_of(of)]


def _views(view: str | None) -> list[dict[str, Any]]:
    """Return every view with its first sentence, or the columns of one."""
    docs, names = view_docs(), [*SCHEMAS, "studies", *analyses.names()]
    if view is not None:
        if view not in names:
            raise part.unknown("view", view, names)
        return [doc._asdict() for doc in docs[view].columns]
    return [
        {
            "name": name,
            "columns": ", ".join(doc.column for doc in docs[name].columns),
            "about": docs[name].about,
        }
        for name in names
    ]


def _studies(ledger: Ledger, *, as_json: bool) -> list[dict[str, Any]]:
    """Return every study with its committed trials, its disk use, tags and note.

    Trials are counted as in ``plan`` and ``status``: two cells may share a trial. For people, sizes
    have units.
    """
    commits, used = ledger.commits(), disk_use(ledger)
    rows: list[dict[str, Any]] = []
    for name in ledger.studies.names(retired=True):
        declared = ledger.studies.current(name)
        note = ledger.studies.note(name)
        committed = sum(
            (commit := commits.get(slot.digest)) is not None
            and trial_state.counts_as_done(commit.outcome, slot.stage)
            for slot in declared
        )
        row: dict[str, Any] = {"name": name, "trials": len(declared), "committed": committed}
        bytes_of = vars(used.get(name, DiskUse()))
        texts = {key.removesuffix("_bytes"): size(count) for key, count in bytes_of.items()}
        row |= bytes_of if as_json else texts
        row["tags"] = ", ".join([*note.get("tags", []), *["retired"] * note.get("retired", False)])
        rows.append({**row, "note": note.get("note", "")})
    return rows


def _published() -> dict[str, dict[str, Any]]:
    """Return the number of parameters of each published network; this imports torch."""
    from trainables.models import Model, published_parameters

    presets = {n: cast("Model", parse_part("models", n)) for n in part.names("models")}
    return {n: {"parameters_published": published_parameters(m)} for n, m in presets.items()}


def _doc(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]
