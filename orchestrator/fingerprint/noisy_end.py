"""Where nothing is left of the mask, a diffusion model must be as good as its feed-forward twin.

As λ → −∞ the estimate of x0 with the image becomes E[x0 | image], whose squared error, in ±1
units, is four times the Brier score of the same probability.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from orchestrator.fingerprint.probes import Probed
from orchestrator.heldout.metrics import SAMPLE, MeasuredCell, TestRows
from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.curve_intervals import of_means

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.views.catalog import Catalog

TWIN = "feedforward"
Key = tuple[int, str]
"""A training seed, and a case."""


def twin(cell: MeasuredCell, cells: list[MeasuredCell]) -> MeasuredCell | None:
    """The feed-forward cell of the same study, task and model.

    Of several, one that differs in nothing but the mode if there is one; one that was trained
    without soft Dice, since only then E[x0 | image] is what it was asked for; and the one with the
    fewest passes: an ensemble's mean is no single pass's estimate.
    """
    about, trials = cell
    alike = [
        other
        for other in cells
        if other[0]["mode"] == TWIN
        and all(other[0][k] == about[k] for k in ("study", "task", "model"))
    ]
    rest = _without_mode(trials)

    def rank(other: MeasuredCell) -> tuple[bool, bool, float, str]:
        passes = other[1]["passes_per_image"].fillna(1).min()
        return _without_mode(other[1]) != rest, _by_dice(other[1]), float(passes), other[0]["cell"]

    alike.sort(key=rank)
    return alike[0] if alike else None


def left_edge(
    probed: Probed, trials: pd.DataFrame, other: pd.DataFrame, tables: Catalog
) -> dict[str, float | None]:
    """``left_edge``: the x0-error in the lowest stratum of λ over 4·scale²·Brier of the twin.

    Over the seeds and cases that both have, resampled together. 1 where they agree; below it the
    noisy mask still tells something, above it the diffusion model uses its image less well. None
    for more than two classes, whose background has no Brier score of its own.
    """
    theirs = _brier(other, tables)
    seed_of = dict(zip(trials["digest"], trials["seed"], strict=True))
    mine: dict[Key, list[int]] = {}
    for i, (run, place) in enumerate(zip(probed.runs, probed.cases, strict=True)):
        case, _, _ = probed.names[place].rpartition("/")  # of which the probed tile is a part
        mine.setdefault((int(seed_of[probed.digests[run]]), case), []).append(i)
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        return {}
    _, scale = probed.encoding
    errors = probed.curves["x0_error"][:, 0] / (4 * scale**2)
    error = np.array([errors[mine[key]].mean() for key in common])
    brier = np.array([theirs[key] for key in common])
    seeds, cases = zip(*common, strict=True)
    groups = probed.groups[[mine[key][0] for key in common]]
    units = bootstrap.units(np.unique(cases, return_inverse=True)[1], groups)
    counted = bootstrap.weights([str(seed) for seed in seeds], units)

    def ratio(means: Any) -> dict[str, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"left_edge": means["error"] / means["brier"]}

    return of_means({"error": error, "brier": brier}, counted, ratio)


def _brier(trials: pd.DataFrame, tables: Catalog) -> dict[Key, float]:
    """Of every seed and case, where the task has two classes."""
    digests = set(trials["digest"])
    table = TestRows("calibration", tables["calibration"], digests)
    rows = table.of(digests, SAMPLE)
    if len(np.unique(table.codes["class"][rows])) != 1:
        return {}
    seed_of = dict(zip(trials["digest"], trials["seed"], strict=True))
    size = len(table.names["case"])
    keys, at = np.unique(
        table.codes["digest"][rows] * size + table.codes["case"][rows], return_inverse=True
    )
    square, count = (
        cast("Array", np.bincount(at, table.numbers[k][rows])) for k in ("square_sum", "count")
    )
    names = [(table.names["digest"][k // size], table.names["case"][k % size]) for k in keys]
    return {
        (int(seed_of[digest]), case): float(value)
        for (digest, case), value in zip(names, square / count, strict=True)
    }


def _by_dice(trials: pd.DataFrame) -> bool:
    modes = cast("dict[str, dict[str, Any]]", _config(trials).get("mode", {}))
    return any(fields.get("dice_weight", 0) > 0 for fields in modes.values())


def _config(trials: pd.DataFrame) -> dict[str, Any]:
    return json.loads(trials.iloc[0]["config"] or "{}")


def _without_mode(trials: pd.DataFrame) -> str:
    kept = {k: v for k, v in _config(trials).items() if k not in ("mode", "seed", "probe")}
    return json.dumps(kept, sort_keys=True)
