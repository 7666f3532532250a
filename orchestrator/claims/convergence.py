"""Whether networks had converged when they were tested, from their validation curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.heldout.final_cells import frame

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.views.catalog import Catalog

GAIN = 0.02
"""A network whose validation Dice rises by more in the second half of its steps still learns."""

BELOW, LEARNING = "is below the grey level alone", "was still learning"


class Convergence:
    """Validation curves of trials, and what they say about convergence."""

    def __init__(self, tables: Catalog) -> None:
        steps = frame(tables["steps"])
        steps = steps[steps["score_count"] > 0].sort_values("step")
        self._curves = {
            str(digest): (rows["step"].to_numpy(), (rows["score_sum"] / rows["score_count"]))
            for digest, rows in steps.groupby("digest")
        }

    def gain(self, trials: pd.DataFrame, networks: int = 1) -> float | None:
        """How much the best validation Dice rose from the first to the second half of the steps.

        It is the mean over trials; None if no trial was validated in the first half. Of
        ``networks`` that were trained one after another, the first counts.
        """
        gains = [self._gain(str(digest), networks) for digest in trials["digest"]]
        known = [gain for gain in gains if gain is not None]
        return float(np.mean(known)) if known else None

    def _gain(self, digest: str, networks: int) -> float | None:
        steps, scores = self._curves.get(digest, (np.empty(0), np.empty(0)))
        if not len(steps):
            return None
        last = steps[-1] / networks
        early, all_scores = np.asarray(scores)[steps <= last / 2], np.asarray(scores)[steps <= last]
        return float(all_scores.max() - early.max()) if len(early) else None

    def doubt(self, name: str, trials: pd.DataFrame, floor: float | None, networks: int = 1) -> str:
        """Why a cell's networks are not to be judged; empty where they are.

        ``floor`` is the validation Dice of an arm without a network.
        """
        gain, reached = self.gain(trials, networks), score(trials)
        if floor is not None and reached is not None and reached < floor:
            return f"{name} {BELOW} in validation: {reached:.2f}, {floor:.2f}"
        if gain is not None and gain > GAIN:
            return f"{name} {LEARNING}: validation Dice rose by {gain:.2f} in its last half"
        return ""


def score(trials: pd.DataFrame) -> float | None:
    """Mean validation Dice of a cell's trials; None where it is unknown."""
    known: Any = trials["score"].dropna() if "score" in trials else trials[:0]
    return float(known.mean()) if len(known) else None
