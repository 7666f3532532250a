"""Evidence for claim 1: differences of metrics between a diffusion arm and another arm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.claims.roles import NAMES, Arm, Role, training_differences
from orchestrator.claims.rows import ClaimRow
from orchestrator.claims.statements import Claim
from orchestrator.claims.study import StudyArms
from orchestrator.heldout.paired import PairedDifference, Pairs

TWINS = ("twin", "ensemble")


def paired_rows(study: StudyArms, pairs: Pairs, claim: Claim) -> list[ClaimRow]:
    """The rows of a statement that compares two arms: one per diffusion arm and task."""
    role = claim.against
    assert role is not None
    if not any(roster.of(role) for roster in study.rosters.values()):
        return [study.lacking(claim, role)]
    return [_row(study, pairs, claim, role, task, arm) for task, arm in study.arms]


def _row(study: StudyArms, pairs: Pairs, claim: Claim, role: Role, task: str, arm: Arm) -> ClaimRow:
    other = study.rosters[task].against(role, arm)
    if other is None:
        row = study.row(claim, task, arm, study.query("leaderboard", task=task))
        return replace(row, missing=f"there is no {NAMES[role]} on this task")
    row = replace(
        study.row(claim, task, arm, _source(study, role, claim.metric, arm, other)),
        against=other.cell,
        passes=arm.passes,
        passes_against=other.passes,
    )
    differences = pairs.differences(arm.final, other.final)
    pair = next((d for d in differences if d.metric.name == claim.metric), None)
    if pair is None:
        return replace(row, missing="the two have no seed and test case in common")
    sizes = [(pair.counts.images, pair.counts.groups)]
    trust = study.trust(task, pair.counts.seeds, sizes, arm, other)
    caveats = list(trust.caveats)
    if role in TWINS and (names := training_differences(arm, other)):
        caveats.append(f"trained with another {', '.join(names)}")
    return replace(
        row,
        value=pair.value,
        value_against=pair.value_against,
        difference=pair.difference,
        test=None if np.isnan(pair.test.p) else pair.test,
        share_above=_share_above(pair),
        doubts=trust.doubts,
        caveats=tuple(caveats),
        **pair.counts._asdict(),
    )


def _share_above(pair: PairedDifference) -> float | None:
    """The share of units on which the first arm has the higher value."""
    if pair.better is None or pair.metric.better == "higher":
        return pair.better
    return 1 - pair.better


def _source(study: StudyArms, role: Role, metric: str, one: Arm, other: Arm) -> str:
    if role in TWINS:
        return study.query("twins", metric=metric, cell=one.cell, against=other.cell)
    both = "', '".join(arm.cell.replace("'", "''") for arm in (one, other))
    query = study.query("ablation", metric=metric)
    return f"{query} AND cell IN ('{both}') AND against IN ('{both}')"
