"""Runs what a plan lacks through Ray Tune; the same call again continues, or does nothing."""

from __future__ import annotations

from collections.abc import Mapping

from cluster import Cluster, Resources
from orchestrator.ledger.driver_lock import LostError, locked
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import memory_fit, trial_state
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.resources import ResourceRequest, workers_of
from orchestrator.planning.same_name import check_same_study
from orchestrator.planning.trainings import readings_first
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import unfinished_searches
from orchestrator.sweep import node_memory, timeouts
from orchestrator.sweep.budget import BudgetMeter
from orchestrator.sweep.context import SweepContext
from orchestrator.sweep.decisions import SweepProgress, another_round
from orchestrator.sweep.declarations import declare, declare_study
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.sweep.retries import RetryState
from orchestrator.sweep.round import Round
from orchestrator.sweep.tuner import run_tuner
from orchestrator.tables import delta_commit
from search_spaces import Space
from search_spaces._workers import fewest


class SweepError(ValueError):
    """The cluster cannot run the trials of the study."""


def sweep(
    study: str,
    space: Space,
    ledger: Ledger,
    cluster: Cluster,
    display: ProgressDisplay,
    silence: float = timeouts.SILENCE_SECONDS,
    tracker: str | None = None,
    *,
    again: bool = False,
) -> Plan:
    """Train what the study lacks, and return the plan as it is afterwards.

    While another process drives the study, this one waits, and then does what is left. A trial
    without a sign of life for ``silence`` seconds is killed and retried. With ``again``, trials
    that were given up are retried as if they had not failed. ``tracker`` is ``mlflow`` or
    ``wandb``, which is sent a copy of the results.

    Raises:
        ValueError: the space describes no valid config.
        SweepError: the cluster cannot run the study's trials.
    """
    delta_commit.check_types(ledger.store)
    forgiven = ledger.failed_attempts.counts() if again else {}
    plan = make_plan(study, space, ledger, forgiven)
    expected = None if plan.complete else cluster.expected()
    if expected is not None:
        check_feasible(plan, expected)
    with locked(ledger.store, study, display.waiting) as lock:
        plan = _declared_plan(study, space, ledger, forgiven)
        budget = BudgetMeter(plan, ledger)
        plan.budget_spent = None if plan.complete else budget.exhausted()
        if not plan.complete and plan.budget_spent is None:
            with cluster.connect() as resources:
                check_feasible(plan, resources)
                refusal = next(memory_fit.too_large(plan, node_memory.of_nodes()), None)
                if refusal is not None:
                    raise SweepError(refusal)
                retries = RetryState(forgiven=forgiven)
                context = SweepContext(
                    ledger, display, lock, resources, budget, silence, retries, tracker
                )
                plan = _run(plan, context)
        _tidy(plan, ledger)
    return plan


def _declared_plan(study: str, space: Space, ledger: Ledger, forgiven: Mapping[str, int]) -> Plan:
    """Return the plan after declaring the study and its known trials in the ledger."""
    plan = make_plan(study, space, ledger, forgiven)
    check_same_study(plan, ledger)
    declare_study(plan, ledger)
    _tidy(plan, ledger)
    return plan


def _run(plan: Plan, context: SweepContext) -> Plan:
    """Run rounds, with the progress display."""
    context.display.begin(plan, context.resources)
    try:
        return _rounds(plan, context)
    finally:
        context.display.end()


def _rounds(plan: Plan, context: SweepContext) -> Plan:
    """Run rounds until nothing is left, the budget is spent, or a round achieves nothing."""
    while not plan.complete:
        plan.budget_spent = context.budget.exhausted()
        if plan.budget_spent is not None:
            break
        before = _progress(plan, context.retries)
        try:
            _round(plan, context)
        except LostError as error:
            context.display.note(str(error))
            context.display.stopped()
        context.compact()
        plan = make_plan(plan.study, plan.space, context.ledger, context.retries.forgiven)
        if context.display.interrupted:
            break
        declare(plan, context.ledger)
        context.display.renew(plan)
        context.budget.renew(plan, context.ledger)
        after = _progress(plan, context.retries)
        if not another_round(before, after) and context.budget.exhausted() is None:
            break
    return plan


def _progress(plan: Plan, retries: RetryState) -> SweepProgress:
    return SweepProgress(
        ended=sum(t.state in ("done", "given up") for t in plan.trials),
        suggestions_left=sum(plan.suggestions_left.values()),
        failures=sum(plan.failures.values()),
        losses=retries.losses,
    )


def _tidy(plan: Plan, ledger: Ledger) -> None:
    ledger.delete_leftovers({t.digest for t in plan.pending}, trial_state.LEASE_SECONDS)


def check_feasible(plan: Plan, resources: Resources) -> None:
    """Refuse a study whose trials would wait for ever; each worker must fit on one node.

    Raises:
        SweepError: the nodes have too few resources for one trial.
    """
    cells = {cell.name: cell for cell in plan.cells}
    kinds = {t.workers for t in plan.pending}
    kinds |= {workers_of(plan.space, cells[name], "search") for name in plan.suggestions_left}
    kinds |= {workers_of(plan.space, cells[name], "final") for name in plan.finals_waiting}
    for workers in sorted(kinds, key=fewest, reverse=True):
        request = ResourceRequest.of(plan.space, workers, resources.gpus)
        slots = request.worker_slots({"CPU": c, "GPU": g} for c, g in resources.nodes)
        if slots >= fewest(workers):
            continue
        by_gpus = bool(request.gpus)
        cpus, gpus = max(resources.nodes, key=lambda node: node[::-1] if by_gpus else node)
        raise SweepError(
            f"a trial needs {request} (Space.workers, cpus, gpus), the cluster has"
            f" {resources.cpus} CPUs and {resources.gpus} GPUs, and its largest node"
            f" {cpus:g} CPUs and {gpus:g} GPUs: {slots} workers fit"
        )


def _round(plan: Plan, context: SweepContext) -> None:
    """Run one Tuner with all trials that can start, whatever their numbers of workers.

    Search trials come from their searches, which suggest unfinished ones first.
    """
    context.retries.recall(plan, context.ledger)
    finals = (t for t in plan.pending if t.stage != "search")
    queue = list({t.digest: t for t in finals}.values())  # cells may share a config
    history = SearchHistory(plan, context.ledger)
    if plan.keeps:
        queue = readings_first(queue, plan.kept)
    searches = unfinished_searches(plan, history)
    one_worker = ResourceRequest.of(plan.space, 1, context.resources.gpus)
    run_tuner(Round(plan, queue, searches, history, one_worker, context))
