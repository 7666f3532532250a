"""Where nothing is left of the mask, a diffusion model must be as good as its feed-forward twin.

As λ → −∞ the estimate of x0 with the image becomes E[x0 | image], whose squared error, in ±1
units, is four times the Brier score of the same probability.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from orchestrator.fingerprint.probes import Probed
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.rows import SAMPLE, HeldOutRows
from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.curve_intervals import of_means

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

TWIN = "feedforward"
Key = tuple[int, str]
"""A training seed, and a case."""


def twin(cell: FinalCell, cells: list[FinalCell]) -> FinalCell | None:
    """The feed-forward cell of the same study, task and model.

    Of several, one that differs in nothing but the mode if there is one; one that was trained
    without soft Dice, since only then E[x0 | image] is what it was asked for; and the one with the
    fewest passes: an ensemble's mean is no single pass's estimate.
    """
    same = (cell.study, cell.task, cell.model)
    alike = [c for c in cells if c.mode == TWIN and (c.study, c.task, c.model) == same]
    rest = _without_mode(cell)

    def rank(other: FinalCell) -> tuple[bool, bool, float, str]:
        passes = other.trials["passes_per_image"].fillna(1).min()
        return _without_mode(other) != rest, _by_dice(other), float(passes), other.cell

    return min(alike, key=rank, default=None)


def left_edge(
    probed: Probed, cell: FinalCell, other: FinalCell, tables: Catalog
) -> dict[str, float | None]:
    """``left_edge``: the x0-error in the lowest stratum of λ over 4·scale²·Brier of the twin.

    Over the seeds and cases that both have, resampled together. 1 where they agree; below it the
    noisy mask still tells something, above it the diffusion model uses its image less well. None
    for more than two classes, whose background has no Brier score of its own.
    """
    theirs = _brier(other, tables)
    seed_of = dict(zip(cell.trials["digest"], cell.trials["seed"], strict=True))
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


def _brier(cell: FinalCell, tables: Catalog) -> dict[Key, float]:
    """Of every seed and case, where the task has two classes."""
    digests = set(cell.digests)
    table = HeldOutRows("calibration", tables["calibration"], digests)
    rows = table.indices(digests, SAMPLE)
    if len(np.unique(table.codes["class"][rows])) != 1:
        return {}
    seed_of = dict(zip(cell.trials["digest"], cell.trials["seed"], strict=True))
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


def _by_dice(cell: FinalCell) -> bool:
    modes = cast("dict[str, dict[str, Any]]", cell.config.get("mode", {}))
    return any(fields.get("dice_weight", 0) > 0 for fields in modes.values())


def _without_mode(cell: FinalCell) -> str:
    kept = {k: v for k, v in cell.config.items() if k not in ("mode", "seed", "probe")}
    return json.dumps(kept, sort_keys=True)
