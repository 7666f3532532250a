"""Names cells, sample sizes and queries in charts and tables, as briefly as the studies allow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.formatting import plural
from orchestrator.heldout.final_cells import common_prefixes
from orchestrator.report import vega

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

JAVASCRIPT_PROPERTIES = {
    *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable"),
    *("toLocaleString", "toString", "valueOf"),
}
"""Properties of every JavaScript object: Vega would look up such a property in place of a series
of the same name."""

GREY_LEVEL = "intensity"
"""The model that predicts a pixel's class from its grey level alone."""


class CellNames:
    """Names each cell by its arm if that is unique within its task, and by its cell name otherwise.

    If the page covers several studies, the study precedes the name.
    """

    def __init__(self, tables: Catalog) -> None:
        columns = ["study", "task", "arm", "cell", "model"]
        board = tables["leaderboard"].select(columns).to_pylist()
        self.tasks = list(dict.fromkeys(row["task"] for row in board))
        self._has_several_studies = len({row["study"] for row in board}) > 1
        count = Counter((row["study"], row["task"], row["arm"]) for row in board)
        self._arms = {
            (row["study"], row["cell"]): row["arm"]
            for row in board
            if count[row["study"], row["task"], row["arm"]] == 1
            and row["arm"] not in JAVASCRIPT_PROPERTIES
        }
        self._trivial = {(row["study"], row["cell"]) for row in board if row["model"] == GREY_LEVEL}
        self._prefixes = common_prefixes(tables) if board else {}

        names = (self(row["study"], row["cell"]) for row in board)
        self._styles = vega.styles(list(dict.fromkeys(names)))

    def __call__(self, study: str, cell: str) -> str:
        """Return the name of a cell: its arm, or the cell's name without the task."""
        without_task = cell.removeprefix(self._prefixes.get((study, cell), ""))
        if without_task in JAVASCRIPT_PROPERTIES:
            without_task = cell
        name = readable(self._arms.get((study, cell), without_task))
        return f"{study}: {name}" if self._has_several_studies else name

    def is_trivial(self, row: Mapping[str, Any], *keys: str) -> bool:
        """Return whether a cell of a view's row predicts from the grey level alone.

        ``keys`` are the columns of the cells, by default ``cell``.
        """
        return any((row["study"], row[key]) in self._trivial for key in keys or ("cell",))

    def add_series(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of a view, each with the name of its cell as ``series``."""
        return [{**row, "series": self(row["study"], row["cell"])} for row in rows]

    def styles(self, rows: Iterable[Mapping[str, Any]]) -> vega.Styles:
        """Return the style of each series in the rows; styles agree over the whole page."""
        present = {row["series"] for row in rows}
        return {name: style for name, style in self._styles.items() if name in present}


def readable(name: str) -> str:
    """Return a name with spaces in place of underscores."""
    return name.replace("_", " ")


def sample_size(row: Mapping[str, Any], noun: str = "case") -> str:
    """Return the number of cases and, where it differs, of groups.

    >>> sample_size({"images": 8, "groups": 1}), sample_size({"images": 8, "groups": 8}, "tile")
    ('8 cases of 1 group', '8 tiles')
    """
    images, groups = row["images"], row["groups"]
    cases = plural(images, noun)
    return cases if groups == images else f"{cases} of {plural(groups, 'group')}"


def case_noun(row: Mapping[str, Any]) -> str:
    """Return what a test case is, from a row of the leaderboard: a tile, or a whole case."""
    test: dict[str, Any] = json.loads(row["settings"] or "{}").get("test") or {}
    return "tile" if test.get("unit") == "tiles" else "case"


def distinct(rows: Iterable[Mapping[str, Any]], key: str = "series") -> list[str]:
    """Return the distinct values of a column, in the order of the rows."""
    return list(dict.fromkeys(str(row[key]) for row in rows))


def where_clause(tables: Catalog, *conditions: str) -> str:
    """Return the WHERE clause that selects the studies on the page and applies the conditions."""
    studies = ", ".join("'" + study.replace("'", "''") + "'" for study in tables.studies)
    terms = [*([f"study IN ({studies})"] if studies else []), *conditions]
    return " WHERE " + " AND ".join(terms) if terms else ""


def query(tables: Catalog, view: str, *conditions: str, columns: str = "*") -> str:
    """Return the command that prints the rows of a view that a figure shows."""
    select = f"SELECT {columns} FROM {view}"  # noqa: S608 - displayed, not executed
    return f'segprint query "{select}{where_clause(tables, *conditions)}"'
