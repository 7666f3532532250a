"""Tables as papers print them: a study's arms, or the grid of its two factors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from orchestrator.analyses.effects import Factor, factors
from orchestrator.formatting import plural
from orchestrator.heldout.baselines import called, factor_values
from orchestrator.heldout.final_cells import FinalCell, cells_by_study, final_cells
from orchestrator.heldout.metrics import load_metrics
from orchestrator.report.best_marks import Mark, best_marks
from orchestrator.report.cell_names import CellNames, sample_size
from orchestrator.report.formats import decimals
from orchestrator.report.printed_table import TIE, PrintedTable, Value
from orchestrator.report.table_layout import MOST_COLUMNS, TableLayout
from orchestrator.statistics.levels import ALPHA
from trainables.part import unknown

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

DEFAULT = ("dice", "hd95", "ece", "seeds", "passes_per_image", "train_device_seconds")
LABELS = {
    **{"dice": "Dice", "iou": "IoU", "ece": "ECE", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD"},
    **{"brier": "Brier", "nll": "NLL", "ace": "ACE", "mce": "MCE", "aji": "AJI", "pq": "PQ"},
    **{"seeds": "Seeds", "images": "Cases", "groups": "Groups", "passes_per_image": "Passes"},
    "seconds_per_image": "Seconds per case",
    "train_device_seconds": "Training, s",
    "parameters": "Parameters",
}
DECIMALS = {"hd95": 1, "assd": 2, "seconds_per_image": 3}
"""Decimals where a file gives none: 3 for other metrics, 0 for costs and counts."""


BRACKETS = " Brackets: 95 % intervals over units and seeds."


@dataclass(frozen=True)
class Entry:
    """A cell of a study, with where it stands in the table."""

    row: Mapping[str, Any]
    """Its row of the view ``leaderboard``."""
    task: str
    """The task, where it is no row and stands in no header; else empty."""
    label: str
    across: str
    """Empty without a factor across."""


def paper_tables(
    tables: Catalog, names: CellNames, layout: TableLayout | None = None
) -> list[PrintedTable]:
    """Return a table per study, and one more of a study that is a grid of two factors.

    With a ``layout`` it is one table per study, as laid out.

    Raises:
        ValueError: the layout names what a study does not have.
    """
    board = {(r["study"], r["cell"]): r for r in tables["leaderboard"].to_pylist()}
    by_study = cells_by_study(final_cells(tables))
    found: list[PrintedTable] = []
    for study, cells in by_study.items():
        study_table = _Study(tables, names, cells, board)
        found.append(study_table.printed(f"table-{study}", layout or TableLayout()))
        grid = None if layout else study_table.grid()
        if grid is not None:
            found.append(study_table.printed(f"table-{study}-grid", grid))
    return found


class _Study:
    """The cells of one study."""

    def __init__(
        self,
        tables: Catalog,
        names: CellNames,
        cells: Sequence[FinalCell],
        board: Mapping[tuple[str, str], Mapping[str, Any]],
    ) -> None:
        self._tables, self._names, self._board = tables, names, board
        self._baseline = cells[0].baseline
        arms = [(cell.cell, cell.arm) for cell in cells]
        self._marked = marked = called(self._baseline, arms) if self._baseline else set[str]()
        trivial = {c.cell for c in cells if names.is_trivial(board[c.key])}
        self._cells = sorted(
            cells, key=lambda c: (c.cell not in marked, c.cell not in trivial)
        )  # the baseline first
        self._networks = [c for c in self._cells if c.cell not in trivial]
        self._settings = {c.cell: dict(factor_values(c.config)) for c in cells}

    def grid(self) -> TableLayout | None:
        """Return the layout of a study that crosses two factors; None for another study.

        The baseline may be in the crossing, or an arm of its own, which the layout leaves out.
        """
        tasks = {cell.task for cell in self._networks}
        first = [cell for cell in self._networks if cell.task == min(tasks)]
        others = [cell for cell in first if cell.cell not in self._marked]
        return self._crossing(first, len(tasks)) or self._crossing(others, len(tasks))

    def _crossing(self, first: list[FinalCell], tasks: int) -> TableLayout | None:
        """Return the layout of cells of one task that cross two factors."""
        two = factors([self._settings[cell.cell] for cell in first])
        if len(two) != 2:
            return None
        levels = [list(dict.fromkeys(factor.levels.values())) for factor in two]
        places = [tuple(f.levels.get(i) for f in two) for i in range(len(first))]
        fewest = min(map(len, levels))
        if sorted(map(str, places)) != sorted(map(str, product(*levels))) or fewest < 2:
            return None
        across, rows = sorted(two, key=lambda factor: len(set(factor.levels.values())))
        if len(levels[0]) == len(levels[1]):
            rows, across = two
        columns = len(set(across.levels.values())) + 1 + (tasks > 1)
        if columns > MOST_COLUMNS:
            return None
        return TableLayout(("dice",), _path(rows), _path(across))

    def printed(self, name: str, layout: TableLayout) -> PrintedTable:
        """Return the table."""
        entries = self._entries(layout)
        columns = self._columns(layout, [entry.row for entry in entries])
        marks = best_marks(self._tables, [entry.row for entry in entries], columns)
        has_tasks = any(entry.task for entry in entries)
        groups = list(dict.fromkeys(entry.across for entry in entries))
        lines = dict.fromkeys((entry.task, entry.label) for entry in entries)
        at = {(e.task, e.label, e.across): e.row for e in entries}
        body: list[list[str | Value]] = []
        for task, label in lines:
            line: list[str | Value] = [task, label] if has_tasks else [label]
            for group, column in product(groups, columns):
                row = at.get((task, label, group), {})
                key = (row.get("task"), row.get("cell"), column)
                line.append(_value(row, column, marks.get(key, ""), layout))
            body.append(line)
        header = [_title(layout.rows, layout)]
        header = ["Task", *header] if has_tasks else header
        several = len(columns) > 1
        keys = [f"{group}: {key}" if group else key for group, key in product(groups, columns)]
        for group, column in product(groups, columns):
            title, side = layout.names.get(column, _label(column)), _side(group, layout)
            header.append(f"{side}: {title}" if group and several else side or title)
        first = len(header) - len(groups) * len(columns)
        shown = "" if several else f"{layout.names.get(columns[0], _label(columns[0]))}. "
        return PrintedTable(name, first, header, keys, body, shown + _notes(entries, layout))

    def _entries(self, layout: TableLayout) -> list[Entry]:
        """Return the cells that have a place in the table, in the order of the layout."""
        rows, across = layout.rows, layout.across
        for key in filter(None, (rows, across)):
            if key not in ("arm", "task") and not self._varies(key):
                choices = ["arm", "task", *self._varying()]
                raise unknown("rows or across of the table", key, choices)
        found: list[tuple[str, Entry]] = []
        several = len({cell.task for cell in self._cells}) > 1 and "task" not in (rows, across)
        for cell in self._cells:
            label, group = (self._coordinate(cell, key) for key in (rows, across))
            if label is not None and group is not None:
                row = self._board[cell.key]
                task = layout.name(cell.task) if several else ""
                found.append((label, Entry(row, task, layout.name(label), layout.name(group))))
        labels = list(dict.fromkeys(label for label, _ in found))
        places = {_spaced(label): i for i, label in enumerate(labels)}
        for name in (*layout.order, *layout.omit):
            if _spaced(name) not in places:
                raise unknown("row of the table", name, labels)
        order = {_spaced(name): i - len(layout.order) for i, name in enumerate(layout.order)}
        omitted = {_spaced(name) for name in layout.omit}
        kept = [(label, e) for label, e in found if _spaced(label) not in omitted]
        tasks = list(dict.fromkeys(e.task for _, e in kept))
        kept.sort(
            key=lambda pair: (
                tasks.index(pair[1].task),
                order.get(_spaced(pair[0]), places[_spaced(pair[0])]),
            )
        )
        return self._unique([entry for _, entry in kept], layout)

    def _unique(self, entries: list[Entry], layout: TableLayout) -> list[Entry]:
        seen: dict[tuple[str, str, str], str] = {}
        for entry in entries:
            place = (entry.task, entry.label, entry.across)
            cell = str(entry.row["cell"])
            if place in seen:
                varying = [
                    key for key in self._varying() if key not in (layout.rows, layout.across)
                ]
                raise ValueError(
                    f"the table's rows = {layout.rows!r} and across = {layout.across!r} put"
                    f" {seen[place]} and {cell} in one place (they also differ in one of:"
                    f" {', '.join(varying) or 'nothing'})"
                )
            seen[place] = cell
        return entries

    def _coordinate(self, cell: FinalCell, key: str) -> str | None:
        if key in ("", "task"):
            return cell.task if key else ""
        if key == "arm":
            return self._names(cell.study, cell.cell)
        settings = self._settings[cell.cell]
        paths = key.split(", ")
        if any(path not in settings for path in paths):
            return None
        return ", ".join(settings[path] for path in paths)

    def _varies(self, key: str) -> bool:
        return all(path in self._varying() for path in key.split(", "))

    def _varying(self) -> list[str]:
        settings = [self._settings[cell.cell] for cell in self._cells]
        return [path for factor in factors(settings) for path in factor.paths]

    def _columns(self, layout: TableLayout, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the columns; by default those of :data:`DEFAULT` that any row has."""
        numbers = [
            key for key, value in next(iter(self._board.values())).items() if _is_number(value)
        ]
        known = [m.name for m in load_metrics()]
        choices = sorted({*known, *(k for k in numbers if not k.endswith(("_low", "_high")))})
        for column in layout.columns:
            if column not in choices:
                raise unknown("column of the table", column, choices)
        for column in layout.decimals:
            if column not in (*choices, "*"):
                raise unknown("column of the table's decimals", column, choices)
        if layout.columns:
            return list(layout.columns)
        chosen = DEFAULT[:1] if layout.across else DEFAULT
        return [c for c in chosen if any(row.get(c) is not None for row in rows)] or ["dice"]


def _value(row: Mapping[str, Any], column: str, mark: Mark, layout: TableLayout) -> Value:
    is_metric = f"{column}_low" in row
    default = DECIMALS.get(column, 3 if is_metric else 0)
    show = decimals(layout.decimals.get(column, layout.decimals.get("*", default)))
    low, high = (row.get(f"{column}_{end}") for end in ("low", "high"))
    return Value(row.get(column), low, high, mark, show, layout.intervals and is_metric)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _label(column: str) -> str:
    """Return the title of a column, with an arrow towards better values of a metric."""
    metric = next((metric for metric in load_metrics() if metric.name == column), None)
    title = LABELS.get(column, column.replace("_", " "))
    if metric is None:
        return title
    return f"{title} {'↑' if metric.better == 'higher' else '↓'}"


def _title(key: str, layout: TableLayout) -> str:
    """Return the title of the first column: of a path its last part."""
    title = ", ".join(path.rpartition(".")[2] for path in key.split(", "))
    return layout.names.get(key, title.replace("_", " ").capitalize())


def _side(group: str, layout: TableLayout) -> str:
    """Return the title of columns side by side: a number with the name of its setting."""
    is_number = re.fullmatch(r"[-+.\de]+", group) is not None
    return f"{_title(layout.across, layout)} {group}" if is_number else group


def _path(factor: Factor) -> str:
    return ", ".join(factor.paths)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _notes(entries: Sequence[Entry], layout: TableLayout) -> str:
    """Return what the numbers and marks are."""
    sizes = {
        entry.row["task"]: f"{layout.name(entry.row['task'])}: {sample_size(entry.row)} and"
        f" {plural(entry.row['seeds'], 'seed')}"
        for entry in entries
    }
    brackets = BRACKETS if layout.intervals else ""
    return (
        f"Means over test cases ({'; '.join(sizes.values())}).{brackets}"
        f" Bold: the best of a task. {TIE}: does not differ significantly from the best (95 %"
        f" interval of the paired difference, p at most {ALPHA:g} after Holm's adjustment, and most"
        " units)."
    )
