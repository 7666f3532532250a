"""``split.csv``: which split and which patient an image belongs to."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainables.decoding.pairs import SPLIT_WORDS, Pair
from trainables.decoding.tree import File
from trainables.interfaces.dataset import Problem, Split
from trainables.part import unknown


@dataclass(frozen=True)
class Assignment:
    """What a split file says of one image."""

    split: Split | None
    patient: str | None


def split_file(file: File, columns: Sequence[str] = ()) -> dict[str, Assignment]:
    """``split.csv``: ``name``, and ``split`` or ``patient`` or both, per image.

    ``columns`` are those that must be there, filled in every line.

    Raises:
        ValueError: it is not such a file; names the line.
    """
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"must be UTF-8: {error}") from error
    rows = csv.DictReader(io.StringIO(text))
    try:
        have = [c.strip().lower() for c in rows.fieldnames or ()]
    except csv.Error as error:
        raise ValueError(f"line 1: {error}") from error
    rows.fieldnames = have
    if not {"name", *columns} <= set(have) or not {"split", "patient"} & set(have):
        wanted = ", ".join(columns) or "name, and split or patient or both"
        raise ValueError(f"has columns {', '.join(have) or 'none'}; must have {wanted}")
    found: dict[str, Assignment] = {}
    for row in _lines(rows):
        name = unicodedata.normalize("NFC", (row["name"] or "").strip())
        word = (row.get("split") or "").strip().lower()
        if word and word not in SPLIT_WORDS:
            error = unknown("split", word, SPLIT_WORDS)
            raise ValueError(f"line {rows.line_num}: {error}")
        empty = [c for c in columns if not (row[c] or "").strip()]
        if empty:
            raise ValueError(f"line {rows.line_num}: {empty[0]} is empty")
        if name in found:
            raise ValueError(f"line {rows.line_num}: {name} is there twice")
        patient = (row.get("patient") or "").strip() or None
        found[name] = Assignment(SPLIT_WORDS[word] if word else None, patient)
    return found


def _lines(rows: csv.DictReader[str]) -> Iterator[dict[str, str | None]]:
    """The rows of a table, a damaged one as a ValueError."""
    try:
        yield from rows
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error


def with_split_file(
    items: Iterable[Pair | Problem], file: File, columns: Sequence[str] = ()
) -> Iterator[Pair | Problem]:
    """Pairs with the split and patient that a split file gives them, by name or by stem."""
    try:
        rows = split_file(file, columns)
    except ValueError as error:
        yield Problem(file.path, str(error))
        rows = None
    unused, used = set(rows or ()), dict[str, str]()
    for item in items:
        if isinstance(item, Problem) or rows is None:
            yield item
            continue
        keys = (item.name, item.image.name.name, item.image.stem, item.name.rpartition("/")[2])
        key = next((k for k in keys if k in rows), None)
        if key is None:
            yield Problem(item.image.path, f"is not in {file.path}")
            continue
        if used.setdefault(key, item.name) != item.name:
            rule = f"{file.path} says {key}, which is {used[key]} as well; it must say {item.name}"
            yield Problem(item.image.path, rule)
            continue
        unused.discard(key)
        row = rows[key]
        yield Pair(item.name, item.image, item.mask, row.split or item.split, row.patient)
    for name in sorted(unused):
        yield Problem(file.path, f"names {name}, of which there is no pair of image and mask")
