"""Verdicts from the evidence of rows: on one task, and over all tasks of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from orchestrator.claims.rows import ClaimRow
from orchestrator.statistics.estimates import Estimate
from orchestrator.statistics.levels import ALPHA
from orchestrator.statistics.multiple_testing import holm
from orchestrator.statistics.paired_tests import least_p, signed_rank, t_interval
from orchestrator.statistics.verdicts import Evidence, Verdict, judge

VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "inconclusive")
NAMED = 4
"""The most tasks that are listed by name."""
REASONS = 3
"""The most reasons that are listed."""


def adjusted(rows: Sequence[ClaimRow]) -> list[ClaimRow]:
    """The rows of one statement with p-values adjusted over them by Holm."""
    p = np.array([np.nan if row.test is None else row.test.p for row in rows], np.float64)
    family = int((~np.isnan(p)).sum())
    return [
        dataclasses.replace(row, p_holm=p_holm, family=family)
        for row, p_holm in zip(rows, holm(p).tolist(), strict=True)
    ]


def judged(row: ClaimRow) -> ClaimRow:
    """The row with its verdict: inconclusive without evidence, or where networks are in doubt."""
    if row.missing or row.test is None:
        return dataclasses.replace(row, why=row.missing or "no test could be made")
    evidence = Evidence(
        row.difference,
        p=row.p_holm,
        units=row.units or 0,
        least_p=row.test.least_p * row.family,
        share_above=row.share_above,
    )
    as_trained, reason = judge(evidence, row.claim.sign)
    if as_trained != "inconclusive":
        reason = "; ".join([reason, *row.caveats])
    why = "; ".join(row.doubts) or reason
    return dataclasses.replace(
        row,
        as_trained=as_trained,
        verdict="inconclusive" if row.doubts else as_trained,
        why=f"{row.where}: {why}" if row.where else why,
    )


def over_tasks(rows: Sequence[ClaimRow], source: str) -> ClaimRow:
    """The row of one model over its tasks, from the judged rows of one statement.

    A statement that compares arms is tested over tasks if there are enough of them for a
    significant result (Demšar 2006, JMLR 7:1-30, section 3.1.3). Otherwise it holds if it does on
    each task, and does not hold if it does not on one.
    """
    first = rows[0]
    summary = "; ".join([summarised([(str(r.task), r.verdict) for r in rows]), *_reasons(rows)])
    tasks = {task for row in rows for task in row.tasks_compared or (row.task,)}
    row = ClaimRow(first.study, first.claim, source, model=first.model, tasks=len(tasks))
    differences = np.array([r.difference.value for r in rows if r.difference.known])
    if first.claim.against is None or least_p(len(differences)) > ALPHA:
        return dataclasses.replace(
            row,
            verdict=combined([r.verdict for r in rows]),
            as_trained=combined([r.as_trained for r in rows]),
            why=summary,
        )
    return dataclasses.replace(
        row,
        tasks=len(differences),
        units=len(differences),
        difference=Estimate(float(differences.mean()), *t_interval(differences), "t"),
        test=signed_rank(differences),
        doubts=tuple(dict.fromkeys(doubt for r in rows for doubt in r.doubts)),
        caveats=(summary,),
    )


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a statement about every task: one task refutes it, all support it."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "inconclusive" if "inconclusive" in verdicts else "holds"


def summarised(verdicts: Sequence[tuple[str, Verdict]]) -> str:
    """Each verdict with the tasks on which it was reached."""
    by_verdict: dict[Verdict, list[str]] = {verdict: [] for verdict in VERDICTS}
    for task, verdict in verdicts:
        by_verdict[verdict].append(task)
    return "; ".join(f"{v} on {_listed(tasks)}" for v, tasks in by_verdict.items() if tasks)


def _listed(tasks: Sequence[str]) -> str:
    """Their names, or how many they are."""
    return ", ".join(tasks) if len(tasks) <= NAMED else f"{len(tasks)} of them"


def _reasons(rows: Sequence[ClaimRow]) -> list[str]:
    """The first reasons for which rows are inconclusive."""
    reasons = list(dict.fromkeys(row.why for row in rows if row.verdict == "inconclusive"))
    more = [f"{len(reasons) - REASONS} more reasons"] if len(reasons) > REASONS else []
    return [*reasons[:REASONS], *more]
