"""Rows of the view ``claims``: one statement about one model on one task, or over its tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from orchestrator.claims.statements import Claim
from orchestrator.statistics.estimates import UNKNOWN, Estimate, known
from orchestrator.statistics.paired_tests import TestResult
from orchestrator.statistics.verdicts import Verdict


@dataclass(frozen=True)
class ClaimRow:
    """A statement, the evidence for or against it, and the verdict.

    Evidence is gathered first (``paired_evidence``, ``timestep_evidence``, ``task_evidence``), the
    verdict is added by :mod:`orchestrator.claims.verdicts`.
    """

    study: str
    claim: Claim
    source: str
    """The query whose rows the evidence is computed from."""
    task: str | None = None
    """None for a row over several tasks."""
    model: str | None = None
    cell: str | None = None
    against: str | None = None
    """The cell that ``cell`` is compared with."""

    missing: str = ""
    """Why there is no evidence; empty where there is some."""
    value: float | None = None
    value_against: float | None = None
    difference: Estimate = UNKNOWN
    test: TestResult | None = None
    share_above: float | None = None
    """The share of units whose difference is above zero, where it is known."""
    where: str = ""
    """The timesteps concerned, in words."""
    doubts: tuple[str, ...] = ()
    """Reasons why the networks are not to be judged yet."""
    caveats: tuple[str, ...] = ()
    """Limitations of a verdict."""

    tasks: int | None = None
    seeds: int | None = None
    images: int | None = None
    groups: int | None = None
    units: int | None = None
    """Number of units that the test is made over."""
    passes: int | None = None
    """Network passes per test image."""
    passes_against: int | None = None
    tasks_compared: tuple[str, ...] = ()
    """Names of the two tasks that a row compares."""

    p_holm: float = math.nan
    family: int = 1
    """The number of tests that ``p_holm`` is adjusted for."""
    verdict: Verdict = "inconclusive"
    as_trained: Verdict = "inconclusive"
    """The verdict on these networks if the doubts are disregarded."""
    why: str = ""

    @property
    def columns(self) -> dict[str, Any]:
        """The row as columns of the view; numbers that are not known are None."""
        names = (
            *("study", "task", "model", "cell", "against", "verdict", "as_trained", "why"),
            *("tasks", "seeds", "images", "groups", "units", "passes", "passes_against", "source"),
        )
        return {
            **{name: getattr(self, name) for name in names},
            "claim": self.claim.number,
            "statement": self.claim.statement,
            "metric": self.claim.metric,
            "value": known(self.value),
            "value_against": known(self.value_against),
            **self.difference.columns("difference"),
            "p": known(self.test.p) if self.test else None,
            "p_holm": known(self.p_holm),
        }
