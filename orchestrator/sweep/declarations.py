"""Declares the trials of a plan in the ledger before they run."""

from __future__ import annotations

from orchestrator.ledger.declared import Declaration, Declared, Description
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import trial_state
from orchestrator.planning.plan import Plan, Trial
from orchestrator.planning.trainings import shared_trainings


def declare_study(plan: Plan, ledger: Ledger) -> None:
    """Declare a study and every known trial of its plan.

    Until all trials of a new revision are declared, those of the revision before are the current
    ones, so that nothing is taken from them if this process is killed in between. A new study is
    described first: trials without a description would look like a damaged one.
    """
    description = Description(
        question=plan.space.question,
        arms=list(plan.space.arms),
        revision=plan.revision,
        baseline=plan.space.baseline,
    )
    is_new = not ledger.studies.declared(plan.study)
    if is_new:
        ledger.studies.describe(plan.study, description)
    declare(plan, ledger)
    if not is_new:
        ledger.studies.describe(plan.study, description)


def declare(plan: Plan, ledger: Ledger) -> None:
    """Declare every known trial of the plan that is not declared yet."""
    known = {d.key for d in ledger.studies.declared(plan.study, plan.revision, whole=True)}
    declared = ((_declared(plan, trial), trial) for trial in plan.trials)
    new = ((d, _details(plan, trial)) for d, trial in declared if d.key not in known)
    ledger.studies.declare_all(new)


def declare_trial(plan: Plan, trial: Trial, ledger: Ledger) -> None:
    """Declare one trial."""
    ledger.studies.declare(_declared(plan, trial), _details(plan, trial))


def _declared(plan: Plan, trial: Trial) -> Declared:
    """Return the position of a trial in its study."""
    return Declared(
        plan.study, plan.revision, trial.cell.name, trial.stage, trial.index, trial.digest
    )


def _details(plan: Plan, trial: Trial) -> Declaration:
    """Return the content of a declaration."""
    return {
        "arm": trial.cell.arm,
        "config": trial.config.plain(),
        "values": trial.values,
        "workers": trial.workers,
        "trainings": list(shared_trainings(trial.config)),
        "keep": plan.space.keep,
        "committed_before": trial_state.counts_as_done(trial.outcome, trial.stage),
    }
