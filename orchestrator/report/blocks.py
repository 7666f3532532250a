"""What a section of the report is made of: charts, tables, pictures, paragraphs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.report import rendering, vega
from orchestrator.report.vega import Spec

Row = Mapping[str, Any]
NOTHING = "–"
MOST = 300
"""Rows of a table in the page; files have all."""
LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "λ": r"$\lambda$",
    "ε": r"$\varepsilon$",
    "×": r"$\times$",
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "→": r"$\to$",
    "<": "$<$",
    ">": "$>$",
    "…": r"\ldots{}",
    "√": r"$\surd$",
    "½": r"$\frac{1}{2}$",
}


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite chart: drawn by the reader's browser, or as SVG, PDF and PNG without one."""

    name: str
    """Its file's name where charts are written out."""
    title: str
    alt: str
    """What it shows, for a reader who does not see it."""
    caption: str
    """What the intervals are of, and n."""
    source: str
    """The command that gives its numbers."""
    spec: Spec
    """Without data."""
    rows: Sequence[Row]
    wide: bool = False

    @property
    def full(self) -> Spec:
        """The whole specification, its numbers inside."""
        return vega.with_data(self.spec, self.title, self.alt, self.rows)

    def svg(self) -> str:
        """As one SVG element; the same bytes for the same data."""
        return rendering.svg(self.full)

    def csv(self) -> str:
        """Its numbers."""
        return _csv(self.rows)


def text(value: Any) -> str:
    """Any value in a few characters."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def fixed(digits: int) -> Callable[[Any], str]:
    """Numbers with so many decimals."""
    return lambda value: text(value) if text(value) == NOTHING else f"{value:,.{digits}f}"


def p_value(value: Any) -> str:
    """Three decimals, as far as they tell anything."""
    return "< 0.001" if text(value) != NOTHING and value < 0.001 else fixed(3)(value)


@dataclass(frozen=True)
class Column:
    """One column of a table; with ``interval``, its ends are in ``KEY_low`` and ``KEY_high``."""

    key: str
    label: str
    show: Callable[[Any], str] | None = None
    """None: it is text, left-aligned."""
    interval: bool = False

    @property
    def numeric(self) -> bool:
        """Whether it is aligned to the right."""
        return self.show is not None

    def cell(self, row: Row) -> str:
        """``0.912 [0.890, 0.931]``, or a dash where it was not measured."""
        show = self.show or text
        value = show(row.get(self.key))
        ends = [show(row.get(f"{self.key}_{end}")) for end in ("low", "high")]
        if not self.interval or value == NOTHING or NOTHING in ends:
            return value
        return f"{value} [{ends[0]}, {ends[1]}]"


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column heads its row."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    source: str
    caption: str = ""
    folded: str = ""
    """Where it is long: the line that opens it."""

    @property
    def shown(self) -> Sequence[Row]:
        """The rows in the page."""
        return self.rows[:MOST]

    @property
    def cut(self) -> str:
        """What the page leaves out, in words."""
        more = len(self.rows) > MOST
        return (
            f"The first {MOST} of {len(self.rows):,} rows; the command gives all." if more else ""
        )

    def csv(self) -> str:
        """Every column of the rows, also those that are not shown."""
        return _csv(self.rows)

    def latex(self) -> str:
        """A ``tabular`` for a paper that uses the package booktabs."""
        align = "".join("r" if c.numeric else "l" for c in self.columns)
        head = " & ".join(latex(c.label) for c in self.columns)
        body = [" & ".join(latex(c.cell(row)) for c in self.columns) for row in self.rows]
        lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", rf"{head} \\", r"\midrule"]
        return "\n".join(
            [*lines, *(rf"{line} \\" for line in body), r"\bottomrule", r"\end{tabular}"]
        )


@dataclass(frozen=True)
class Picture:
    """One image, as PNG."""

    png: bytes
    alt: str
    label: str


@dataclass(frozen=True)
class Strip:
    """Pictures side by side, of one case."""

    title: str
    pictures: Sequence[Picture]
    source: str


@dataclass(frozen=True)
class Note:
    """A paragraph, or a list of findings."""

    lines: Sequence[str]
    bullets: bool = False


@dataclass(frozen=True)
class Commands:
    """What to type, each with what it is for."""

    lines: Sequence[tuple[str, str]]


Block = Chart | Table | Strip | Note | Commands


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    name: str
    title: str
    blocks: Sequence[Block]
    series: Sequence[str] = field(default=())
    """What the reader may hide in all charts of it."""


def latex(words: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX.get(c, c) for c in words)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
