"""Whether networks had converged when they were tested, from their validation curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.heldout.final_cells import frame
from trainables.metrics import Array

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
            str(digest): (
                rows["step"].to_numpy(),
                (rows["score_sum"] / rows["score_count"]).to_numpy(),
            )
            for digest, rows in steps.groupby("digest")
        }

    def gain(self, trials: pd.DataFrame, train: Mapping[str, Any]) -> float | None:
        """How much the best validation Dice rose from the first to the second half of the steps.

        It is the mean over all networks of the trials, which were trained with the settings
        ``train``; None if none was validated in the first half.
        """
        curves = [c for digest in trials["digest"] for c in self._networks(str(digest), train)]
        known = [gain for steps, scores in curves if (gain := _gain(steps, scores)) is not None]
        return float(np.mean(known)) if known else None

    def _networks(self, digest: str, train: Mapping[str, Any]) -> Iterator[tuple[Array, Array]]:
        """The steps and validation scores of each network that a trial trained, one after another.

        A network ends, as in training, after ``steps`` steps or ``patience`` validations that
        brought no improvement.
        """
        steps, scores = self._curves.get(digest, (np.empty(0), np.empty(0)))
        most, patience = train.get("steps", np.inf), train.get("patience", 0)
        begin, before, best = 0, 0, 0
        for i in range(len(steps)):
            best = i if scores[i] > scores[best] else best
            if steps[i] - before >= most or 0 < patience <= i - best:
                yield steps[begin : i + 1] - before, scores[begin : i + 1]
                begin, before, best = i + 1, steps[i], i + 1
        if begin < len(steps):
            yield steps[begin:] - before, scores[begin:]

    def doubt(
        self, name: str, trials: pd.DataFrame, floor: float | None, train: Mapping[str, Any]
    ) -> str:
        """Why a cell's networks are not to be judged; empty where they are.

        ``floor`` is the validation Dice of an arm without a network; ``train`` as in :meth:`gain`.
        """
        gain, reached = self.gain(trials, train), score(trials)
        if floor is not None and reached is not None and reached < floor:
            return f"{name} {BELOW} in validation: {reached:.2f}, {floor:.2f}"
        if gain is not None and gain > GAIN:
            return f"{name} {LEARNING}: validation Dice rose by {gain:.2f} in its last half"
        return ""


def _gain(steps: Array, scores: Array) -> float | None:
    early = scores[steps <= steps[-1] / 2]
    return float(scores.max() - early.max()) if len(early) else None


def score(trials: pd.DataFrame) -> float | None:
    """Mean validation Dice of a cell's trials; None where it is unknown."""
    known: Any = trials["score"].dropna() if "score" in trials else trials[:0]
    return float(known.mean()) if len(known) else None
