"""Formats values for the cells of a table, in HTML and in LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.formatting import printable

MISSING = "–"
SMALLEST_P = 0.001
"""Smaller p values are shown as a bound."""
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


def as_text(value: Any) -> str:
    """Return any value in a few characters; None and NaN are shown as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def decimals(digits: int) -> Callable[[Any], str]:
    """Return a format for numbers with a fixed number of decimals and a typographic minus.

    A number that these decimals would show as zero has as many as it needs, but three more at most.

    >>> [decimals(3)(number) for number in (0.1234, 0.00036, -0.00004, 1e-9, 0.0)]
    ['0.123', '0.0004', '−0.00004', '0.000', '0.000']
    """

    def show(value: Any) -> str:
        return MISSING if as_text(value) == MISSING else _rounded(value, digits)

    return show


def _rounded(value: float, digits: int, sign: str = "") -> str:
    needed = next((d for d in range(digits, digits + 4) if round(value, d)), digits)
    return f"{round(value, needed) or 0.0:{sign},.{needed}f}".replace("-", "−")  # no −0.000


def p_value(value: Any) -> str:
    """Return a p value with three decimals, or ``< 0.001``."""
    is_small = as_text(value) != MISSING and value < SMALLEST_P
    return f"< {SMALLEST_P}" if is_small else decimals(3)(value)


def p_equals(value: Any) -> str:
    """Return a p value for a sentence: ``p = 0.012`` or ``p < 0.001``."""
    shown = p_value(value)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def signed(value: float | None) -> str:
    """Return a number with its sign, with the typographic minus; a dash where it is not known."""
    if value is None or as_text(value) == MISSING:
        return MISSING
    return _rounded(value, 3, sign="+")


def latex(text: str) -> str:
    """Return a text with the characters escaped that LaTeX interprets."""
    return "".join(LATEX.get(c, c) for c in printable(text))


METHODS = {"bootstrap-t": "bootstrap-t", "percentile": "percentile bootstrap", "t": "Student's t"}


def interval_name(rows: Iterable[Mapping[str, Any]], column: str) -> str:
    """Return the kind of the intervals of a column of a view, for a caption.

    >>> interval_name([{"dice_method": None}, {"dice_method": "bootstrap-t"}], "dice")
    '95 % bootstrap-t intervals'
    """
    methods = dict.fromkeys(row[f"{column}_method"] for row in rows)
    return f"95 % {' and '.join(METHODS[m] for m in methods if m) or 'confidence'} intervals"
