"""The error at the noisy end, compared with the feed-forward twin.

As λ → −∞ the estimate of x0 with the image becomes E[x0 | image], whose squared error, in ±1
units, is four times the Brier score of the same probability.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from orchestrator.fingerprint.probe_layout import TWO_VALUED, tested_case
from orchestrator.fingerprint.probes import ProbeCurves
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.rows import SAMPLE, HeldOutRows
from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.estimates import UNKNOWN, Curves, Estimate, of_means

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

TWIN = "feedforward"
SeedAndCase = tuple[int, str]


def twin(cell: FinalCell, cells: list[FinalCell]) -> FinalCell | None:
    """The feed-forward cell of the same study, task and model; None if there is none.

    Of several, it is one whose config differs in the mode only; then one trained without soft Dice,
    whose output estimates E[x0 | image]; then the one with the fewest passes, because the mean of
    an ensemble is not the estimate of a single pass.
    """

    def key(one: FinalCell) -> tuple[str, ...]:
        return one.study, one.task, one.model, one.training_task

    twins = [c for c in cells if c.mode == TWIN and key(c) == key(cell)]
    rest = _without_mode(cell)

    def rank(other: FinalCell) -> tuple[bool, bool, float, str]:
        passes = other.trials["passes_per_image"].fillna(1).min()
        return _without_mode(other) != rest, _by_dice(other), float(passes), other.cell

    return min(twins, key=rank, default=None)


def left_edge(probe: ProbeCurves, other: FinalCell, tables: Catalog) -> Estimate:
    """The x0-error in the lowest stratum of λ over 4·scale²·Brier score of the twin.

    It is computed over the seeds and cases that both have, resampled together. It is 1 where the
    two agree; below 1 the noisy mask is still informative, above 1 the diffusion model uses its
    image less well. Unknown for more than two classes, whose background has no Brier score, for
    encodings whose channels have more than two values, and where the probed tiles are not all
    pixels of the tested case: images that were reduced, or whose sides are no multiples of a tile.
    """
    encoding, scale, _ = probe.encoding
    if encoding not in TWO_VALUED:
        return UNKNOWN
    briers = _brier(other, tables)
    known = {name for _, name in briers}
    seed_of = probe.final.seed_of
    tiles: dict[SeedAndCase, list[int]] = {}
    runs: list[int] = probe.runs.tolist()
    cases: list[int] = probe.cases.tolist()
    for row, (run, case) in enumerate(zip(runs, cases, strict=True)):
        seed = seed_of[probe.digests[run]]
        name = tested_case(probe.case_names[case], known)
        tiles.setdefault((seed, name), []).append(row)
    common = sorted(
        key
        for key in tiles.keys() & briers.keys()
        if probe.pixels[tiles[key]].sum() == briers[key].pixels
    )
    if not common:
        return UNKNOWN
    errors = probe.curves["x0_error"][:, 0] / (4 * scale**2)
    rows_of = [tiles[key] for key in common]
    error = np.array([np.average(errors[rows], weights=probe.pixels[rows]) for rows in rows_of])
    brier = np.array([briers[key].score for key in common])
    seeds, names = zip(*common, strict=True)
    groups = probe.groups[[tiles[key][0] for key in common]]
    units = bootstrap.units(np.unique(names, return_inverse=True)[1], groups)
    weights = bootstrap.weights([str(seed) for seed in seeds], units)

    def quotient(means: Curves) -> dict[str, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"left_edge": means["error"] / means["brier"]}

    return of_means({"error": error, "brier": brier}, weights, units, quotient)["left_edge"]


class _Brier(NamedTuple):
    """The Brier score of a case, and the number of its pixels."""

    score: float
    pixels: float


def _brier(cell: FinalCell, tables: Catalog) -> dict[SeedAndCase, _Brier]:
    """The Brier score of every seed and case; empty unless the task has two classes."""
    digests = set(cell.digests)
    table = HeldOutRows("calibration", tables["calibration"], digests)
    rows = table.indices(digests, SAMPLE)
    if len(np.unique(table.codes["class"][rows])) != 1:
        return {}
    size = len(table.names["case"])
    keys, at = np.unique(
        table.codes["digest"][rows] * size + table.codes["case"][rows], return_inverse=True
    )
    square, count = (
        cast("Array", np.bincount(at, table.numbers[k][rows])) for k in ("square_sum", "count")
    )
    digests_of, cases, seed_of = table.names["digest"], table.names["case"], cell.seed_of
    places: list[int] = keys.tolist()
    named = [(seed_of[digests_of[place // size]], cases[place % size]) for place in places]
    found = map(_Brier, (square / count).tolist(), count.tolist())
    return dict(zip(named, found, strict=True))


def _by_dice(cell: FinalCell) -> bool:
    """Whether the cell was trained with soft Dice."""
    modes = cast("dict[str, dict[str, Any]]", cell.config.get("mode", {}))
    return any(fields.get("dice_weight", 0) > 0 for fields in modes.values())


def _without_mode(cell: FinalCell) -> str:
    kept = {k: v for k, v in cell.config.items() if k not in ("mode", "seed", "probe")}
    return json.dumps(kept, sort_keys=True)
