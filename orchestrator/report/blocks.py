"""The blocks of a section of the report: charts, tables, image strips, paragraphs and commands."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from orchestrator.formatting import csv_cell, printable_within
from orchestrator.report import rendering, vega
from orchestrator.report.formats import MISSING, as_text, latex
from orchestrator.report.vega import Spec

Row = Mapping[str, Any]
MAX_ROWS = 300
"""Rows of a table on the page; the files hold all."""


class IntervalRow(TypedDict):
    """A point estimate with its interval, one line of a forest plot."""

    name: str
    """The label of the line."""
    series: str
    value: float
    low: float
    high: float
    images: int
    """The number of test cases (or units) that the estimate is over."""


class CurveRow(TypedDict):
    """A point of a curve with its interval."""

    series: str
    line: NotRequired[str]
    """The kind of curve, where a series has several: it selects the dash pattern."""
    at: float
    value: float
    low: float
    high: float


class PointRow(TypedDict):
    """A point of a scatter plot."""

    name: str
    series: str
    at: float
    value: float


def interval_row(name: str, series: str, row: Row, column: str) -> IntervalRow:
    """Return the estimate in a column of a view's row, with the ends of its interval."""
    return {
        "name": name,
        "series": series,
        "value": row[column],
        "low": row[f"{column}_low"],
        "high": row[f"{column}_high"],
        "images": row["images"],
    }


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite chart: interactive in a browser, and static as SVG, PDF and PNG."""

    name: str
    """The stem of its file names."""
    title: str
    alt: str
    """A text alternative for readers who cannot see the chart."""
    caption: str
    """States what the intervals are and n."""
    source: str
    """The command that prints the numbers."""
    spec: Spec
    """The Vega-Lite specification without data."""
    rows: Sequence[Row]
    key: str = ""
    """The meaning of dash patterns or marks; it precedes the caption."""
    wide: bool = False
    small: bool = False
    """Whether three such charts fit next to each other."""

    @property
    def full(self) -> Spec:
        """The complete specification with its data."""
        return printable_within(vega.with_data(self.spec, self.title, self.alt, self.rows))

    def svg(self) -> str:
        """Return one SVG element; the same data give the same bytes."""
        return rendering.svg(self.full)

    def csv(self) -> str:
        """Return the numbers as CSV."""
        return _csv(self.rows)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    With ``interval``, the row holds the interval's ends in ``KEY_low`` and ``KEY_high``.
    """

    key: str
    label: str
    show: Callable[[Any], str] | None = None
    """The format of a number, right-aligned; None for text, left-aligned."""
    interval: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the column is right-aligned."""
        return self.show is not None

    def cell(self, row: Row) -> str:
        """Return e.g. ``0.912 [0.890, 0.931]``, or a dash where nothing was measured."""
        show = self.show or as_text
        value = show(row.get(self.key))
        ends = [show(row.get(f"{self.key}_{end}")) for end in ("low", "high")]
        if not self.interval or value == MISSING or MISSING in ends:
            return value
        return f"{value} [{ends[0]}, {ends[1]}]"


@dataclass(frozen=True)
class Table:
    """A table; the first column is the row header."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    source: str
    caption: str = ""

    @property
    def shown(self) -> Sequence[Row]:
        """The rows on the page."""
        return self.rows[:MAX_ROWS]

    @property
    def truncation(self) -> str:
        """A sentence that states how many rows the page omits; empty if none."""
        if len(self.rows) <= MAX_ROWS:
            return ""
        return f"The first {MAX_ROWS} of {len(self.rows):,} rows; the source query returns all."

    def csv(self) -> str:
        """Return all columns of all rows as CSV, including columns that are not shown."""
        return _csv(self.rows)

    def latex(self) -> str:
        """Return a ``tabular`` environment for the LaTeX package booktabs."""
        align = "".join("r" if c.numeric else "l" for c in self.columns)
        head = " & ".join(latex(c.label) for c in self.columns)
        body = [" & ".join(latex(c.cell(row)) for c in self.columns) for row in self.rows]
        lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", rf"{head} \\", r"\midrule"]
        return "\n".join(
            [*lines, *(rf"{line} \\" for line in body), r"\bottomrule", r"\end{tabular}"]
        )


@dataclass(frozen=True)
class Picture:
    """An image as PNG with its label."""

    png: bytes
    alt: str
    label: str


@dataclass(frozen=True)
class Strip:
    """Images of one case in a row."""

    title: str
    pictures: Sequence[Picture]
    source: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    title: str


@dataclass(frozen=True)
class Note:
    """Paragraphs, or a bulleted list."""

    lines: Sequence[str]
    bullets: bool = False


@dataclass(frozen=True)
class Commands:
    """Shell commands, each with its purpose: (purpose, command)."""

    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Fold:
    """Blocks that are collapsed at first; a print shows them."""

    summary: str
    """The line that opens them."""
    blocks: Sequence[Block]


Block = Chart | Table | Strip | Heading | Note | Commands | Fold


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    name: str
    """Its anchor, and the stem of its files."""
    title: str
    blocks: Sequence[Block]
    series: Sequence[str] = field(default=())
    """The series that a reader can hide in all charts of the section."""

    @property
    def all_blocks(self) -> list[Block]:
        """The blocks on the page in their order, with those of folds in place of the folds."""
        return list(_unfolded(self.blocks))


def _unfolded(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Fold):
            yield from _unfolded(block.blocks)
        else:
            yield block


def folded(summary: str, blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks as one fold; an empty list if there are none."""
    return [Fold(summary, blocks)] if blocks else []


def first_charts(charts: Sequence[Chart], most: int, summary: str) -> list[Block]:
    """Return the first charts, and a fold with the others."""
    return [*charts[:most], *folded(summary, charts[most:])]


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writerow({name: csv_cell(name) for name in names})
    writer.writerows({k: csv_cell(v) for k, v in row.items()} for row in rows)
    return out.getvalue()
