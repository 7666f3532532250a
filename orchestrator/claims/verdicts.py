"""From a paired difference to a verdict: a claim holds, does not hold, or can not be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.statistics.multiple_testing import LEVEL

Verdict = Literal["holds", "does not hold", "can not be told"]
WORDS: dict[Verdict, str] = {
    "holds": "holds on",
    "does not hold": "does not hold on",
    "can not be told": "can not be told on",
}


NAMED = 4
"""Tasks that are listed by name."""


@dataclass(frozen=True)
class Evidence:
    """A difference, and what is to be known of it before it is believed."""

    low: float
    """Of its 95 % interval, with ``high``."""
    high: float
    sign: int
    """Of the difference, if the claim is true."""
    p_holm: float
    """NaN: it could not be tested."""
    units: int
    """Patients, images or tasks that it was tested over."""
    least_p: float
    """Below which its test can not go with so few, adjusted as ``p_holm`` is."""
    above: float | None = None
    """The share of units whose difference is above zero, where that is known."""
    caveats: Sequence[str] = ()
    """What a verdict leaves open."""


def least_p(units: int, comparisons: int = 1) -> float:
    """Of n units a signed-rank or permutation test of pairs gives no two-sided p below 2 · 2⁻ⁿ,
    and Holm's adjustment multiplies the smallest by the comparisons.

    >>> least_p(5), least_p(6), least_p(6, 3)
    (0.0625, 0.03125, 0.09375)
    """
    return comparisons * 2.0 ** (1 - units)


def judge(evidence: Evidence) -> tuple[Verdict, str]:
    """The verdict and why: only an interval and an adjusted p-value that agree tell anything."""
    low, high, p = evidence.low, evidence.high, evidence.p_holm
    if not p <= LEVEL and evidence.least_p > LEVEL:
        few = f"{evidence.units} test units are too few: p can not be below {evidence.least_p:.2g}"
        return "can not be told", few
    if not p <= LEVEL:
        return "can not be told", f"it may be chance: p {p:.2g}"
    if not (low > 0 or high < 0):
        return "can not be told", "the interval includes no difference"
    if evidence.above is not None and (evidence.above > 0.5) != (low > 0):
        return "can not be told", "most test units point the other way than the mean over cases"
    as_claimed = low > 0 if evidence.sign > 0 else high < 0
    why = "; ".join(["interval and test agree", *evidence.caveats])
    return ("holds" if as_claimed else "does not hold"), why


def over_all(verdicts: Sequence[tuple[str, Verdict]]) -> tuple[Verdict, str]:
    """Of a claim about every task: one task refutes it, all of them together hold it up."""
    by: dict[Verdict, list[str]] = {}
    for task, verdict in verdicts:
        by.setdefault(verdict, []).append(task)
    told = "; ".join(f"{WORDS[v]} {_listed(by[v])}" for v in WORDS if v in by)
    if "does not hold" in by:
        return "does not hold", told
    return ("can not be told" if "can not be told" in by else "holds"), told


def _listed(tasks: Sequence[str]) -> str:
    """Their names, or how many they are."""
    return ", ".join(tasks) if len(tasks) <= NAMED else f"{len(tasks)} of them"
