"""Names that a study cannot have: that of a cluster, or that of another study in the store."""

from __future__ import annotations

import logging

import cluster
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan

log = logging.getLogger("segprint.tables")


def check_no_cluster(study: str) -> None:
    """Check that a study is not named like a cluster, since ``status NAME`` takes either.

    Raises:
        ValueError: it is.
    """
    if study in cluster.names():
        raise ValueError(
            f"study {study!r} has the name of a cluster, which `segprint status {study}` shows:"
            " give it another name with --as NAME or Space(name=...)"
        )


def check_same_study(plan: Plan, ledger: Ledger) -> None:
    """Check that a plan continues the stored study of its name, if that has committed trials.

    It does if it has the same question, or if it has a trial that the study declared. Paths do not
    matter, so that another clone or a moved file continues the study.

    Raises:
        ValueError: another study has the name.
    """
    declared = {slot.digest for slot in ledger.studies.declared(plan.study)}
    committed = len(declared & ledger.commits().keys())
    if not committed or any(trial.digest in declared for trial in plan.trials):
        return
    question = ledger.studies.question(plan.study)
    if question in ("", plan.space.question):
        log.warning(
            "segprint: study %r: none of its %d committed trials is a trial of this file; they stay"
            " in the store as an earlier revision. If this file is another study, give it another"
            " name with --as NAME or Space(name=...)",
            plan.study,
            committed,
        )
        return
    raise ValueError(
        f"study {plan.study!r} is in {ledger.store.url} with another question, {question!r}, and"
        f" none of its {committed} committed trials is a trial of this file: give this file"
        " another name with --as NAME or Space(name=...)"
    )
