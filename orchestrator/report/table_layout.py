"""The layout of a table for a paper, which a TOML file chooses."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from trainables.part import require, unknown

MOST_COLUMNS = 8
"""Columns of a table that no file lays out."""
MOST_DECIMALS = 9


@dataclass(frozen=True)
class TableLayout:
    """The columns, rows, order, decimals and names of a table. The fields are the file's keys."""

    columns: tuple[str, ...] = ()
    """Metrics and costs, columns of the view ``leaderboard``; empty for the default."""
    rows: str = "arm"
    """``arm``, ``task``, or a field of the config that varies, such as ``mode.schedule``."""
    across: str = ""
    """The same, with its values side by side; empty for none."""
    order: tuple[str, ...] = ()
    """Rows that come first; the others follow in their order."""
    omit: tuple[str, ...] = ()
    """Rows that are left out."""
    intervals: bool = True
    """Whether a value is followed by its interval."""
    decimals: Mapping[str, int] = field(default_factory=dict[str, int])
    """Decimals by column; ``*`` is every other column."""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What to print in place of an arm, a task, a value or a column."""

    def name(self, text: str) -> str:
        """Return what to print for a name; underscores become spaces where it has no other."""
        return self.names.get(text, self.names.get(text.replace("_", " "), text.replace("_", " ")))


def read_layout(path: Path) -> TableLayout:
    """Return the layout in a TOML file.

    Raises:
        ValueError: the file is missing or no TOML, a key is unknown, or a value has another type.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--table {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--table {path} is not a TOML file: {error}") from error
    return parse_layout(given, str(path))


def parse_layout(given: Mapping[str, Any], where: str) -> TableLayout:
    """Return the layout that the keys of a TOML file describe; ``where`` begins each error."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key not in READERS:
            raise unknown(f"key of {where}", key, READERS)
        found[key] = READERS[key](value, f"{where}: {key} = {value!r}")
    layout = TableLayout(**found)
    require(
        layout.rows != layout.across, f"{where}: across = {layout.across!r} is the same as rows"
    )
    return layout


def _texts(value: Any, where: str) -> tuple[str, ...]:
    listed = cast("list[object]", value) if isinstance(value, list) else [None]
    require(all(isinstance(item, str) for item in listed), f"{where} must be a list of texts")
    texts = tuple(str(item) for item in listed)
    require(len(set(texts)) == len(texts), f"{where} must name each only once")
    return texts


def _text(value: Any, where: str) -> str:
    require(isinstance(value, str), f"{where} must be a text")
    return str(value)


def _flag(value: Any, where: str) -> bool:
    require(isinstance(value, bool), f"{where} must be true or false")
    return bool(value)


def _decimals(value: Any, where: str) -> dict[str, int]:
    by_column = cast("dict[str, Any]", value if isinstance(value, dict) else {"*": value})
    for digits in by_column.values():
        is_count = isinstance(digits, int) and not isinstance(digits, bool)
        require(
            is_count and 0 <= digits <= MOST_DECIMALS,
            f"{where} must be a whole number from 0 to {MOST_DECIMALS}, or a table of columns",
        )
    return by_column


def _names(value: Any, where: str) -> dict[str, str]:
    names = cast("dict[str, Any]", value if isinstance(value, dict) else {"": None})
    is_text = all(isinstance(text, str) for text in names.values())
    require(is_text, f"{where} must be a table of texts")
    return names


READERS = {
    **{"columns": _texts, "rows": _text, "across": _text, "order": _texts, "omit": _texts},
    **{"intervals": _flag, "decimals": _decimals, "names": _names},
}
