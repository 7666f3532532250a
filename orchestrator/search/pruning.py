"""What searched trials had at each rung, and who is stopped there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from orchestrator import policy
from orchestrator.planning.plan import Trial
from orchestrator.policy import Rung
from search_spaces import Search

Rungs = dict[tuple[str, int, int], dict[str, Rung]]
"""By cell, bracket and step; then by digest, since a trial may come to a rung twice."""


class Ladder:
    """The rungs of a study's search, as trials come to them in one round."""

    def __init__(self, search: Search | None, rungs: Rungs) -> None:
        self._search, self._rungs = search, rungs

    def judged(self, trial: Trial, step: int, mine: Rung) -> str | None:
        """Why a trial is stopped at a step, if it is; it counts for those that come after it."""
        found = self._at(trial, step)
        if found is None or self._search is None:
            return None
        others = [rung for digest, rung in found.items() if digest != trial.digest]
        found[trial.digest] = mine
        return policy.pruned(self._search.pruner, mine, others)

    def climbed(self, trial: Trial, earlier: Iterable[dict[str, Any]]) -> None:
        """A trial that is resumed was at rungs before: it counts there for those after it."""
        for row in earlier:
            found = self._at(trial, int(row["step"]))
            if found is not None and math.isfinite(row["score"]):
                found[trial.digest] = Rung(row["score"], tuple(row["case_scores"] or ()))

    def _at(self, trial: Trial, step: int) -> dict[str, Rung] | None:
        """What trials had at a step that judges this one; None if none does there."""
        if self._search is None:
            return None
        bracket = policy.bracket(self._search.pruner, trial.index, len(self._search.rungs))
        if step not in self._search.rungs[bracket:]:
            return None
        return self._rungs.setdefault((trial.cell.name, bracket, step), {})
