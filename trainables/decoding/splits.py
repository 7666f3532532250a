"""``split.csv``: which split and which patient an image belongs to."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trainables.decoding.layout import SPLIT_WORDS
from trainables.decoding.pairs import Pair
from trainables.decoding.tree import File, Tree
from trainables.interfaces.dataset import Problem, Split
from trainables.part import unknown

NAMES = ("split", "splits")
TABLES = (".csv", ".tsv")
LISTS = (*TABLES, ".txt", ".json", ".xlsx", ".xls", ".yaml", ".yml", ".pkl")
"""Suffixes of files that may give splits."""


@dataclass(frozen=True)
class Assignment:
    """The entry of a split file for one image."""

    split: Split | None
    patient: str | None


def split_file(file: File, columns: Sequence[str] = ()) -> dict[str, Assignment]:
    """``split.csv``: ``name``, and ``split`` or ``patient`` or both, per image.

    ``columns`` are those that must be there, filled in every line.

    Raises:
        ValueError: it is not such a file; names the line.
    """
    rows = _table(file)
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
        name = _plain_name(row["name"] or "")
        if not name:
            raise ValueError(f"line {rows.line_num}: name is empty")
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


def _table(file: File) -> csv.DictReader[str]:
    """The rows of a table whose columns are separated by comma, semicolon or tab.

    Raises:
        ValueError: it is not UTF-8.
    """
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"must be UTF-8: {error}") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    return csv.DictReader(io.StringIO(text), delimiter=delimiter)


def _plain_name(name: str) -> str:
    """A name, or a path below the data set, with its parts joined by ``/``."""
    plain = unicodedata.normalize("NFC", name.strip()).replace("\\", "/")
    return plain.removeprefix("./").strip("/")


def _lines(rows: csv.DictReader[str]) -> Iterator[dict[str, str | None]]:
    """The rows of a table that are not empty, a damaged one as a ValueError."""
    try:
        for row in rows:
            if any((value or "").strip() for key, value in row.items() if key is not None):
                yield row
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error


def split_tables(tree: Tree) -> tuple[File | None, list[Problem]]:
    """The split file of a data set, and a warning for each file that only looks like one.

    It is ``split.csv`` or ``splits.csv``, in any letter case, at the top or else anywhere.
    """
    named = [f for f in tree.files if f.stem.lower() in NAMES and f.suffix in TABLES]
    named.sort(key=lambda f: (len(f.name.parts), f.stem.lower() != "split", f.path))
    used = named[0] if named else None
    what = "split.csv" if used is None else used.path
    rule = f"looks like a list of splits and is not read: splits are read from {what} alone"
    others = (f for f in tree.files if f is not used and _looks_like_splits(f))
    return used, [Problem(f.path, rule, fatal=False) for f in others]


def _looks_like_splits(file: File) -> bool:
    """Whether a user may mean it to give splits, by its name or by its columns."""
    if file.suffix not in LISTS or "__" in file.stem:
        return False
    words = re.findall(r"[a-z]+", file.stem.lower())
    if {"split", "splits", "fold", "folds"} & set(words) or file.stem.lower() in SPLIT_WORDS:
        return True
    if file.suffix not in TABLES or len(file.name.parts) > 1:
        return False
    try:
        columns = {c.strip().lower() for c in _table(file).fieldnames or ()}
    except (ValueError, csv.Error):
        return False
    return bool(columns & {"split", "fold", "subset"})


def with_split_file(
    items: Iterable[Pair | Problem], tree: Tree, columns: Sequence[str] = ()
) -> Iterator[Pair | Problem]:
    """Pairs with the split and patient that the data set's split file gives them, if it has one.

    A line names an image or its mask by stem, by file name, or by path.
    """
    file, others = split_tables(tree)
    yield from others
    if file is None:
        yield from items
        return
    try:
        rows = split_file(file, columns)
    except ValueError as error:
        yield Problem(file.path, str(error))
        yield from items
        return
    unused, used = set(rows), dict[str, str]()
    for item in items:
        if isinstance(item, Problem):
            yield item
            continue
        key = _row_of(item, rows)
        if key is None:
            yield Problem(item.image.path, f"is not in {file.path}")
            continue
        if used.setdefault(key, item.name) != item.name:
            rule = f"{file.path} says {key}, which is {used[key]} as well; it must say {item.name}"
            yield Problem(item.image.path, rule)
            continue
        unused.discard(key)
        row = rows[key]
        if row.split and item.split and row.split != item.split:
            rule = (
                f"is in split {row.split} by {file.path}, which is taken, and not in {item.split}"
            )
            yield Problem(item.image.path, rule, fatal=False)
        group = row.patient or item.group
        yield dataclasses.replace(item, split=row.split or item.split, group=group)
    for name in sorted(unused):
        yield Problem(file.path, f"names {name}, of which there is no pair of image and mask")


def _row_of(pair: Pair, rows: Mapping[str, Assignment]) -> str | None:
    """The name by which a split file knows a pair; longer paths first."""
    paths = [pair.name]
    for file in (pair.image, pair.mask):
        parts = unicodedata.normalize("NFC", file.path).split("/")
        for i in range(len(parts)):
            path = "/".join(parts[i:])
            paths += [path, path.removesuffix(file.name.name) + file.stem]
    paths.append(pair.name.rpartition("/")[2])
    return next((path for path in paths if path in rows), None)
