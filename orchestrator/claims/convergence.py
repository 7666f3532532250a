"""Whether networks had finished learning when they were tested: from their own validations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.views.catalog import Catalog

GAIN = 0.02
"""Of validation Dice in the second half of its steps: who gains more is still learning."""

BELOW, LEARNING = "is below the grey level alone", "was still learning"


class Learning:
    """What a cell's validations say, and those of the arms without a network beside it."""

    def __init__(self, tables: Catalog) -> None:
        steps = tables["steps"].to_pandas()
        steps = steps[steps["score_count"] > 0].sort_values("step")
        self._curves = {
            str(digest): (mine["step"].to_numpy(), (mine["score_sum"] / mine["score_count"]))
            for digest, mine in steps.groupby("digest")
        }

    def gain(self, trials: pd.DataFrame, networks: int = 1) -> float | None:
        """By how much the best validation Dice of the first half was bettered in the second, the
        mean over trials; None where none was validated in the first. Of ``networks`` that were
        trained one after the other, the first.
        """
        gains = [g for d in trials["digest"] if (g := self._gain(str(d), networks)) is not None]
        return float(np.mean(gains)) if gains else None

    def _gain(self, digest: str, networks: int) -> float | None:
        at, scores = self._curves.get(digest, (np.empty(0), np.empty(0)))
        if not len(at):
            return None
        whole = at[-1] / networks
        early, own = np.asarray(scores)[at <= whole / 2], np.asarray(scores)[at <= whole]
        return float(own.max() - early.max()) if len(early) else None

    def doubt(self, name: str, trials: pd.DataFrame, floor: float | None, networks: int = 1) -> str:
        """Why a cell's networks are too little trained to be judged; empty where they are not.

        ``floor`` is the validation Dice of an arm that has no network.
        """
        gain, reached = self.gain(trials, networks), score(trials)
        if floor is not None and reached is not None and reached < floor:
            return f"{name} {BELOW} in validation: {reached:.2f}, {floor:.2f}"
        if gain is not None and gain > GAIN:
            return f"{name} {LEARNING}: validation Dice rose by {gain:.2f} in its last half"
        return ""


def score(trials: pd.DataFrame) -> float | None:
    """Validation Dice of a cell's trials, the mean; None where none is known."""
    known: Any = trials["score"].dropna() if "score" in trials else trials[:0]
    return float(known.mean()) if len(known) else None
