"""The sentence of each view, and the unit and meaning of each column, from the page on views."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "views.md"
"""``docs/views.md``, by a link: one text for the page and for ``segprint ls views``."""
SHARED = "Shared columns"
ENDS = {
    "": "{meaning}",
    "_low": "lower end of the 95 % interval of {name}",
    "_high": "upper end of the 95 % interval of {name}",
    "_method": "how the interval of {name} was computed",
}
"""The columns that ± stands for, by their ending."""
ROW = re.compile(r"^\| (?!---|column )(.+?) \|$", re.MULTILINE)


class ColumnDoc(NamedTuple):
    """A column of a view."""

    column: str
    unit: str
    meaning: str


class ViewDoc(NamedTuple):
    """A view, its first sentence, and its columns."""

    about: str
    columns: tuple[ColumnDoc, ...]


@functools.cache
def view_docs() -> dict[str, ViewDoc]:
    """Return what the page says about each view, in the order of the page."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    shared = {doc.column: doc for doc in _table(sections.pop(SHARED))}
    return {name: _view(text, shared) for name, text in sections.items()}


def _view(text: str, shared: dict[str, ColumnDoc]) -> ViewDoc:
    paragraph = " ".join(text.strip().partition("\n\n")[0].split())
    about = plain(re.split(r"(?<=\.) ", paragraph)[0])
    named = re.search(r"^Shared: (.+?)\.$", text, re.MULTILINE | re.DOTALL)
    names = _names(named[1]) if named else []
    columns = _table(re.split(r"^\| curve ", text, flags=re.MULTILINE)[0])
    return ViewDoc(about, (*(shared[name] for name in names), *columns))


def _table(text: str) -> list[ColumnDoc]:
    """Return the columns that the rows of a table name; a row may name several."""
    docs: list[ColumnDoc] = []
    for row in ROW.findall(text):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", f" {row} ")]
        names, unit, meaning = (cells[0], cells[1], plain(cells[2].replace("\\|", "|")))
        bases = re.findall(r"`(\w+)`( ±)?", names)
        units = unit.split(", ") if unit.count(",") == len(bases) - 1 else [unit] * len(bases)
        for (name, interval), one in zip(bases, units, strict=True):
            for end, sentence in ENDS.items() if interval else [("", "{meaning}")]:
                shown = "" if end == "_method" else one
                text = sentence.format(name=name, meaning=meaning)
                docs.append(ColumnDoc(f"{name}{end}", shown, text))
    return docs


def _names(text: str) -> list[str]:
    return [
        f"{name}{end}"
        for name, interval in re.findall(r"`(\w+)`( ±)?", text)
        for end in (ENDS if interval else [""])
    ]


def plain(text: str) -> str:
    """Return Markdown without marks of code and links.

    >>> plain("see [Statistics](statistics.md) and `tp`")
    'see Statistics and tp'
    """
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text).replace("`", "")
