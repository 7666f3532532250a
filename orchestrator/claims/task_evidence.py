"""Evidence for claim 4: distances between the fingerprints of two tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from orchestrator.claims.roles import Arm
from orchestrator.claims.rows import ClaimRow
from orchestrator.claims.statements import DISTINCT
from orchestrator.claims.study import StudyArms
from orchestrator.statistics.bootstrap import count_units
from orchestrator.statistics.estimates import Estimate
from orchestrator.statistics.paired_tests import TestResult
from orchestrator.statistics.shape_test import least_p


def task_rows(study: StudyArms, distances: Iterable[dict[str, Any]]) -> list[ClaimRow]:
    """The rows of the statement that tasks differ: one per pair of tasks and model.

    ``distances`` are the rows of the view ``distances``.
    """
    arms = {arm.cell: (task, arm) for task, arm in study.arms}
    pairs = [
        row
        for row in distances
        if (row["study"], row["normalisation"]) == (study.study, "unit")
        and row["cell"] in arms
        and row["against_cell"] in arms
    ]
    if not pairs:
        missing = "there are no two tasks with a diffusion model that was trained alike and probed"
        return [ClaimRow(study.study, DISTINCT, study.query("distances"), missing=missing)]
    return [_row(study, pair, arms[pair["cell"]], arms[pair["against_cell"]]) for pair in pairs]


def _row(
    study: StudyArms, pair: dict[str, Any], one: tuple[str, Arm], other: tuple[str, Arm]
) -> ClaimRow:
    tasks = (pair["task"], pair["against"])
    source = study.query("distances", cell=pair["cell"], against_cell=pair["against_cell"])
    sizes = [(pair[f"images{side}"], pair[f"groups{side}"]) for side in ("", "_against")]
    units = [count_units(images, groups) for images, groups in sizes]
    distance, between_seeds = pair["wasserstein"], pair["wasserstein_seeds"]
    test = None if pair["p"] is None else TestResult("permutation", pair["p"], least_p(*units))
    row = replace(
        study.row(DISTINCT, " and ".join(tasks), one[1], source),
        against=pair["against_cell"],
        tasks_compared=tasks,
        value=distance,
        value_against=between_seeds,
        test=test,
        images=sum(images for images, _ in sizes),
        groups=sum(groups for _, groups in sizes),
        units=sum(units),
    )
    if distance is None:
        return replace(row, missing="the image is not informative on one of them")
    if between_seeds is None:
        missing = "one training run per task: the distance between training runs is unknown"
        return replace(row, missing=missing)
    if pair["wasserstein_low"] is None:
        return replace(row, missing="a single test unit on one of them gives no interval")
    value, low, high = (pair[f"wasserstein{end}"] - between_seeds for end in ("", "_low", "_high"))
    seeds = min(arm.trials["seed"].nunique() for _, arm in (one, other))
    trusts = [study.trust(task, seeds, sizes, arm) for task, arm in (one, other)]
    caveats = [caveat for trust in trusts for caveat in trust.caveats]
    if seeds == 2:
        caveats.append("the distance between two training runs is a rough estimate")
    return replace(
        row,
        difference=Estimate(value, low, high, "percentile"),
        seeds=seeds,
        doubts=tuple(dict.fromkeys(doubt for trust in trusts for doubt in trust.doubts)),
        caveats=tuple(dict.fromkeys(caveats)),
    )
