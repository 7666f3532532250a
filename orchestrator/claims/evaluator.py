"""All rows of the view ``claims`` for one study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.claims.paired_evidence import paired_rows
from orchestrator.claims.rows import ClaimRow
from orchestrator.claims.statements import CLAIMS, LITTLE, NOT_MONOTONE, PAIRED
from orchestrator.claims.study import StudyArms
from orchestrator.claims.task_evidence import task_rows
from orchestrator.claims.timestep_evidence import timestep_rows
from orchestrator.claims.verdicts import adjusted, judged, over_tasks
from orchestrator.fingerprint.probes import probe_curves
from orchestrator.fingerprint.timestep_tests import findings
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.heldout.paired import Pairs

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "iou", "ece")


def claim_rows(tables: Catalog, study: str, cells: Sequence[FinalCell]) -> Iterator[ClaimRow]:
    """The judged rows of one study, in the order of the claims; ``cells`` are its final cells."""
    arms = StudyArms(tables, study, cells)
    if not arms.arms:
        yield from (judged(arms.lacking(claim, "diffusion")) for claim in CLAIMS)
        return
    pairs = Pairs(HeldOut(tables, load_metrics(METRICS), list(cells)), family=len(arms.arms))
    for claim in PAIRED:
        yield from _judged(arms, adjusted(paired_rows(arms, pairs, claim)))
    curves = {
        probe.final.cell: probe.complete()
        for probe in probe_curves(tables)
        if (probe.final.study, probe.axis) == (study, "t")
    }
    tested = findings(curves)  # adjusted over all probed cells, as the failure signs are
    for claim in (LITTLE, NOT_MONOTONE):
        yield from _judged(arms, timestep_rows(arms, claim, curves, tested))
    yield from _judged(arms, adjusted(task_rows(arms, tables["distances"].to_pylist())))


def _judged(arms: StudyArms, rows: list[ClaimRow]) -> Iterator[ClaimRow]:
    """The rows of one statement with verdicts; then one row per model with several rows."""
    with_verdicts = [judged(row) for row in rows]
    yield from with_verdicts
    summaries: list[ClaimRow] = []
    for model in dict.fromkeys(row.model for row in rows):
        of_model = [row for row in with_verdicts if row.model == model]
        if len(of_model) > 1:
            claim = of_model[0].claim
            named = {"statement": claim.statement, "metric": claim.metric, "model": str(model)}
            summaries.append(over_tasks(of_model, arms.query("claims", **named)))
    yield from (judged(row) if row.test else row for row in adjusted(summaries))
