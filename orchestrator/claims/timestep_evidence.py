"""Evidence for claims 2 and 3: tests of the errors over timesteps of each diffusion arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.claims.roles import Arm
from orchestrator.claims.rows import ClaimRow
from orchestrator.claims.statements import LITTLE, NOT_MONOTONE, Claim
from orchestrator.claims.study import StudyArms
from orchestrator.fingerprint.probes import ProbeCurves
from orchestrator.fingerprint.timestep_tests import Finding, Statement

STATEMENTS: dict[Claim, Statement] = {
    LITTLE: "image hardly helps",
    NOT_MONOTONE: "loss not monotone",
}


def timestep_rows(
    study: StudyArms,
    claim: Claim,
    curves: Mapping[str, ProbeCurves],
    findings: Mapping[str, Mapping[Statement, Finding]],
) -> list[ClaimRow]:
    """The rows of a statement about timesteps: one per diffusion arm and task.

    ``curves`` over t and ``findings`` are those of the study, by cell.
    """
    return [_row(study, claim, curves, findings, task, arm) for task, arm in study.arms]


def _row(
    study: StudyArms,
    claim: Claim,
    curves: Mapping[str, ProbeCurves],
    findings: Mapping[str, Mapping[Statement, Finding]],
    task: str,
    arm: Arm,
) -> ClaimRow:
    source = study.query("fingerprints", cell=arm.cell, axis="t")
    row = study.row(claim, task, arm, source)
    if arm.cell not in curves or not len(curves[arm.cell].runs):
        return replace(row, missing="it was not probed over timesteps")
    if arm.cell not in findings:
        return replace(row, missing="it was probed in fewer than three strata of timesteps")
    finding = findings[arm.cell][STATEMENTS[claim]]
    counts = curves[arm.cell].counts
    trust = study.trust(task, counts["seeds"], [(counts["images"], counts["groups"])], arm)
    return replace(
        row,
        value=finding.value,
        value_against=finding.threshold,
        difference=finding.difference,
        test=finding.test,
        p_holm=finding.p_holm,
        family=finding.family,
        where=finding.where,
        units=finding.units,
        doubts=trust.doubts,
        caveats=trust.caveats,
        **counts,
    )
