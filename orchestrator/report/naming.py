"""What charts and tables call a cell: as short as the studies at hand allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.heldout.final_cells import common_prefixes
from orchestrator.report import vega

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog


OF_OBJECTS = {
    *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable"),
    *("toLocaleString", "toString", "valueOf"),
}
"""Of every object in JavaScript: Vega finds them instead of a series that is called so."""


class Naming:
    """Names of cells: the arm, where a task has one cell of it; the study, if there are several."""

    def __init__(self, tables: Catalog) -> None:
        board = tables["leaderboard"].select(["study", "task", "arm", "cell"]).to_pylist()
        self.tasks = list(dict.fromkeys(row["task"] for row in board))
        self._several = len({row["study"] for row in board}) > 1
        count = Counter((row["study"], row["task"], row["arm"]) for row in board)
        self._arms = {
            (row["study"], row["cell"]): row["arm"]
            for row in board
            if count[row["study"], row["task"], row["arm"]] == 1 and row["arm"] not in OF_OBJECTS
        }
        self._prefixes = common_prefixes(tables) if board else {}

        names = (self(row["study"], row["cell"]) for row in board)
        self._looks = vega.looks(list(dict.fromkeys(names)))

    def looks(self, rows: Iterable[Mapping[str, Any]]) -> vega.Looks:
        """How the series of the rows are drawn: the same on the whole page, in one order."""
        present = {row["series"] for row in rows}
        return {name: look for name, look in self._looks.items() if name in present}

    def __call__(self, study: str, cell: str) -> str:
        """The name of a cell: of its arm, or where a task has several of it, all but the task's."""
        rest = cell.removeprefix(self._prefixes.get((study, cell), ""))
        name = spaced(self._arms.get((study, cell), cell if rest in OF_OBJECTS else rest))
        return f"{study}: {name}" if self._several else name

    def of(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows, each with the name of its cell as ``series``."""
        return [{**row, "series": self(row["study"], row["cell"])} for row in rows]


def spaced(name: str) -> str:
    """A name for readers: cells are named for files."""
    return name.replace("_", " ")


def sized(row: Mapping[str, Any], cases: str = "cases") -> str:
    """How many cases numbers are of, and of how many groups where these are not the cases."""
    images, groups = row["images"], row["groups"]
    of = f" of {groups} group{'s' if groups != 1 else ''}"
    return f"{images} {cases}" + (of if groups != images else "")


def ordered(rows: Iterable[Mapping[str, Any]], key: str = "series") -> list[str]:
    """Each value once, in the order of the rows."""
    return list(dict.fromkeys(str(row[key]) for row in rows))


def where(tables: Catalog, *conditions: str) -> str:
    """The clause that limits a query to the studies at hand, and to what else is said."""
    names = ", ".join("'" + study.replace("'", "''") + "'" for study in tables.studies)
    said = [*([f"study IN ({names})"] if names else []), *conditions]
    return " WHERE " + " AND ".join(said) if said else ""


def query(tables: Catalog, view: str, *conditions: str, columns: str = "*") -> str:
    """The command that gives the rows of a view that a figure is made of."""
    select = f"SELECT {columns} FROM {view}"  # noqa: S608 - shown, not run
    return f'segprint query "{select}{where(tables, *conditions)}"'
