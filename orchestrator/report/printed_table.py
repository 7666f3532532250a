"""A table for a paper, written for LaTeX, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.formatting import csv_cell, printable
from orchestrator.report.best_marks import Mark
from orchestrator.report.formats import MISSING, latex

TIE = "†"


@dataclass(frozen=True)
class Value:
    """A number of the table."""

    value: float | None
    low: float | None
    high: float | None
    mark: Mark
    show: Callable[[Any], str]
    with_interval: bool

    @property
    def texts(self) -> tuple[str, str]:
        """The number, and its interval where it is shown and known."""
        ends = [self.show(end) for end in (self.low, self.high)]
        number = self.show(self.value)
        if not self.with_interval or MISSING in (number, *ends):
            return number, ""
        return number, f" [{ends[0]}, {ends[1]}]"

    def latex(self) -> str:
        """Return the number for LaTeX: the best in bold, ties with a dagger."""
        number, interval = (latex(text) for text in self.texts)
        if self.mark == "best":
            number = rf"\textbf{{{number}}}"
        return number + (r"$^{\dagger}$" if self.mark == "tie" else "") + interval

    def markdown(self) -> str:
        """Return the number in Markdown: the best in bold, ties with a dagger."""
        number, interval = self.texts
        if self.mark == "best":
            number = f"**{number}**"
        return number + (TIE if self.mark == "tie" else "") + interval


@dataclass(frozen=True)
class PrintedTable:
    """Rows of labels and numbers under a header, with notes below."""

    name: str
    """The stem of its file names."""
    labels: int
    """The number of columns that hold labels; they come first."""
    header: Sequence[str]
    keys: Sequence[str]
    """Name of each column of numbers in the CSV file."""
    rows: Sequence[Sequence[str | Value]]
    notes: str

    def latex(self) -> str:
        """Return a ``tabular`` for the LaTeX package booktabs; notes are a comment above it."""
        align = "l" * self.labels + "r" * (len(self.header) - self.labels)
        lines = [
            f"% {printable(self.notes)}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            rf"{' & '.join(latex(title) for title in self.header)} \\",
        ]
        for number, row in enumerate(self.rows):
            is_new = self.labels > 1 and (number == 0 or row[0] != self.rows[number - 1][0])
            if number == 0 or is_new:
                lines.append(r"\midrule")
            shown = row if is_new or self.labels == 1 else ["", *row[1:]]
            cells = [c.latex() if isinstance(c, Value) else latex(c) for c in shown]
            lines.append(rf"{' & '.join(cells)} \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def markdown(self) -> str:
        """Return a Markdown table, and the notes as a paragraph."""
        align = ["---"] * self.labels + ["---:"] * (len(self.header) - self.labels)
        body = [
            [c.markdown() if isinstance(c, Value) else _escaped(c) for c in row]
            for row in self.rows
        ]
        lines = [list(map(_escaped, self.header)), align, *body]
        return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", self.notes, ""])

    def csv(self) -> str:
        """Return all digits: of each number its value, the ends of its interval and its mark."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        numbers = [f"{key}{end}" for key in self.keys for end in ("", "_low", "_high", "_mark")]
        writer.writerow([csv_cell(title) for title in (*self.header[: self.labels], *numbers)])
        for row in self.rows:
            cells: list[Any] = []
            for cell in row:
                is_value = isinstance(cell, Value)
                cells += [cell.value, cell.low, cell.high, cell.mark] if is_value else [cell]
            writer.writerow([csv_cell(cell) for cell in cells])
        return out.getvalue()


def _escaped(text: str) -> str:
    return printable(text).replace("|", "\\|")
