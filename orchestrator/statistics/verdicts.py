"""Verdicts on differences, from their intervals and adjusted p-values.

Every verdict of the program is decided here, so that no two pages disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.statistics.estimates import Estimate
from orchestrator.statistics.levels import ALPHA

Verdict = Literal["holds", "does not hold", "inconclusive"]
Sign = Literal[-1, 0, 1]


@dataclass(frozen=True)
class Evidence:
    """A difference and what is needed to judge it."""

    difference: Estimate
    p: float
    """Adjusted for the number of tests; NaN where no test could be made."""
    units: int
    """Number of patients, images or tasks that it was tested over."""
    least_p: float = 0.0
    """The smallest p-value that the test can give with so few units, adjusted like ``p``."""
    share_above: float | None = None
    """The share of units whose difference is above zero, where it is known."""

    @property
    def objection(self) -> str:
        """Why the difference is not significant; empty where it is.

        It is significant if the adjusted p-value is at most :data:`ALPHA`, the interval excludes
        zero, and most units are on the side of the mean.
        """
        if not self.p <= ALPHA and self.least_p > ALPHA:
            return f"{self.units} test units are too few: p cannot be below {self.least_p:.2g}"
        if not self.p <= ALPHA:
            return f"it may be chance: p {self.p:.2g}"
        if not (self.difference.low > 0 or self.difference.high < 0):
            return "the interval includes no difference"
        share = self.share_above
        if share is not None and (share if self.difference.low > 0 else 1 - share) <= 0.5:
            return "most test units point the other way than the mean over cases"
        return ""

    @property
    def sign(self) -> Sign:
        """1 or −1 where the difference is significantly above or below zero, else 0."""
        if self.objection:
            return 0
        return 1 if self.difference.low > 0 else -1


def judge(evidence: Evidence, claimed: Sign) -> tuple[Verdict, str]:
    """The verdict on a claim that the difference has a sign, and the reason."""
    if evidence.sign == 0:
        return "inconclusive", evidence.objection
    return ("holds" if evidence.sign == claimed else "does not hold"), "interval and test agree"


def comparison(
    sign: int,
    better: str = "better",
    worse: str = "worse",
    neither: str = "not significantly different",
) -> str:
    """The words for a significant advantage, a significant disadvantage, or neither."""
    if sign == 0:
        return neither
    return better if sign > 0 else worse
