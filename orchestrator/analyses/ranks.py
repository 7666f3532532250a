"""Mean ranks of arms over all tasks, for a critical-difference diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.heldout.final_cells import FinalCell, common_prefixes
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.statistics import bootstrap
from orchestrator.statistics.rank_tests import mean_ranks
from trainables.metrics import Array, Metric

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "iou", "ece", "brier", "nll")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "metric", "arm")),
        *((k, pa.int64()) for k in ("arms", "tasks", "blocks")),
        *((k, pa.float64()) for k in ("mean_rank", "friedman_p", "critical_difference")),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, metric and arm, of studies with three arms or more.

    Arms are ranked on each unit of each task, which is a group of test cases, or a case where the
    task has fewer than six groups (:func:`orchestrator.statistics.bootstrap.units`): 1 for the
    best, and ties share their mean rank. The value of a unit is the mean over cases, seeds and
    classes; a pooled metric of a case is computed from its own pixels. ``arms``, ``tasks`` and
    ``blocks`` (units) count what ``mean_rank`` is computed from.

    ``friedman_p`` is the p-value of Friedman's test (1937) that no arm ranks differently. Two arms
    whose mean ranks differ by more than ``critical_difference`` differ at 5 %, all pairs
    considered: Nemenyi's q √(k(k+1) / 6N) for k arms and N blocks (Demšar 2006, JMLR 7:1-30,
    section 3.2.2). ``arm`` is the cell's name without its task, so that where a study crosses arms
    with, say, models, each combination is ranked. A task on which an arm has no result is left out.
    """
    held_out = HeldOut(tables, load_metrics(METRICS, tables.metrics))
    prefixes = common_prefixes(tables)
    studies: dict[str, dict[str, dict[str, FinalCell]]] = {}
    for cell in held_out.cells:
        arm = cell.cell.removeprefix(prefixes[cell.key])
        studies.setdefault(cell.study, {}).setdefault(cell.task, {})[arm] = cell
    found: list[dict[str, Any]] = []
    for study, tasks in studies.items():
        arms = sorted({arm for by_arm in tasks.values() for arm in by_arm})
        complete = [by_arm for by_arm in tasks.values() if len(by_arm) == len(arms)]
        if len(arms) >= 3 and complete:
            for metric in held_out.metrics:
                blocks = [_blocks(held_out, metric, [t[arm] for arm in arms]) for t in complete]
                key = {"study": study, "metric": metric.name, "tasks": len(complete)}
                found += [key | row for row in _ranked(arms, np.concatenate(blocks))]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _blocks(held_out: HeldOut, metric: Metric, arms: list[FinalCell]) -> Array:
    """The values of the units that all arms have, lower is better: [units, arms]."""
    sign = -1 if metric.better == "higher" else 1
    common = pd.concat([held_out.per_case(metric, arm) for arm in arms], axis=1, join="inner")
    groups, cases = (common.index.get_level_values(k).to_numpy(np.int64) for k in ("group", "case"))
    return sign * common.groupby(bootstrap.units(cases, groups)).mean().to_numpy(np.float64)


def _ranked(arms: list[str], blocks: Array) -> list[dict[str, Any]]:
    if not len(blocks):
        return []
    ranks = mean_ranks(blocks)
    shared = {
        "arms": len(arms),
        "blocks": len(blocks),
        "friedman_p": ranks.friedman_p,
        "critical_difference": ranks.critical_difference,
    }
    rows = [
        {**shared, "arm": arm, "mean_rank": rank}
        for arm, rank in zip(arms, ranks.ranks.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: row["mean_rank"])
