"""Run what a plan is missing, through Ray Tune; the same call again continues or does nothing."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from cluster import Cluster, Resources
from orchestrator.ledger.driver_lock import LostError, locked
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Description
from orchestrator.planning import trial_state
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.resources import ResourceRequest, fewest
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import searches
from orchestrator.sweep import timeouts
from orchestrator.sweep.budget import BudgetMeter
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.sweep.retries import RetryState
from orchestrator.sweep.round import Round, SweepContext, declare, fold_quietly
from orchestrator.tables import delta_commit
from search_spaces import Space
from trainables.worker import Inline, ray_train_trial


class SweepError(ValueError):
    """The sweep cannot go on."""


def sweep(
    study: str,
    space: Space,
    ledger: Ledger,
    cluster: Cluster,
    screen: ProgressDisplay,
    silence: float = timeouts.SILENCE_SECONDS,
    mirror: str | None = None,
    *,
    again: bool = False,
) -> Plan:
    """Train whatever the study still lacks, and return the plan as it stands afterwards.

    While another process drives the study, this one waits; then it does what is left, if anything.
    ``again``: what was given up is tried as often as if it had not failed yet.

    Raises:
        ValueError: the space asks for something that no config can be.
        SweepError: the cluster cannot run the study's trials.
    """
    delta_commit.check_types(ledger.store)
    forgiven = ledger.failed_attempts.counts() if again else {}
    made = plan(study, space, ledger, forgiven)
    expected = cluster.expected()
    if expected is not None:
        feasible(made, expected)
    with locked(ledger.store, study, screen.waits) as claim:
        made = _declared(study, space, ledger, forgiven)
        purse = BudgetMeter(made, ledger)
        made.spent = None if made.complete else purse.empty()
        if not made.complete and made.spent is None:
            with cluster.connect() as resources:
                feasible(made, resources)
                screen.begin(made)
                tries = RetryState(forgiven=forgiven)
                crew = SweepContext(ledger, screen, claim, resources, purse, silence, tries, mirror)
                try:
                    made = _rounds(made, crew)
                finally:
                    screen.end()
        _tidy(made, ledger)
    return made


def _declared(study: str, space: Space, ledger: Ledger, forgiven: Mapping[str, int]) -> Plan:
    """The plan, its trials and its question noted in the ledger."""
    made = plan(study, space, ledger, forgiven)
    description = Description(
        question=space.question, arms=list(space.arms), revision=made.revision
    )
    ledger.studies.describe(study, description)
    declare(made, ledger)
    _tidy(made, ledger)
    return made


def _rounds(made: Plan, crew: SweepContext) -> Plan:
    """Rounds until nothing is left, or one achieves nothing, or the budget is spent."""
    while not made.complete:
        made.spent = crew.purse.empty()
        if made.spent is not None:
            break
        before = _progress(made, crew.tries)
        try:
            _round(made, crew)
        except LostError as error:
            crew.screen.note(str(error))
            crew.screen.stopped()
        fold_quietly(crew.ledger)
        made = plan(made.study, made.space, crew.ledger, crew.tries.forgiven)
        if crew.screen.interrupted:
            break
        declare(made, crew.ledger)
        crew.purse.renew(made, crew.ledger)
        if _progress(made, crew.tries) == before and crew.purse.empty() is None:
            break
    return made


def _tidy(made: Plan, ledger: Ledger) -> None:
    ledger.delete_leftovers({t.digest for t in made.pending}, trial_state.LEASE_SECONDS)


def feasible(made: Plan, resources: Resources) -> None:
    """Refuse a study whose trials would wait for ever: each worker needs room on one node."""
    kinds = {t.workers for t in made.pending} | ({made.space.workers} if made.unchosen else set())
    for workers in sorted(kinds, key=fewest, reverse=True):
        needs = ResourceRequest.of(made.space, workers, resources.gpus)
        one = dataclasses.replace(needs, workers=1)
        rooms = [one.slots({"CPU": cpus, "GPU": gpus}) for cpus, gpus in resources.nodes]
        if sum(rooms) < fewest(workers):
            cpus, gpus = max(resources.nodes, key=lambda node: node[::-1] if one.gpus else node)
            raise SweepError(
                f"a trial needs {needs} (Space.workers, cpus, gpus), the cluster has"
                f" {resources.cpus} CPUs and {resources.gpus} GPUs, and its largest node"
                f" {cpus:g} CPUs and {gpus:g} GPUs: there is room for {sum(rooms)} workers"
            )


def _round(made: Plan, crew: SweepContext) -> None:
    """One Tuner: all one-worker trials inline, or else the several-worker ones under Ray Train."""
    alone = [t for t in made.pending if t.workers == 1]
    if alone or made.unsuggested:
        queue, workers = [t for t in alone if t.stage != "search"], 1
    else:
        workers = made.pending[0].workers
        queue = [t for t in made.pending if t.workers == workers]
    queue = list({t.digest: t for t in queue}.values())  # cells may share a config
    crew.tries.recall(made, crew.ledger)
    memory = SearchHistory(made, crew.ledger)
    asking = searches(made, memory) if workers == 1 else []
    needs = ResourceRequest.of(made.space, workers, crew.resources.gpus)
    _tune(Round(made, queue, asking, memory, needs, crew))


def _tune(run: Round) -> None:
    """Hand a round to Ray Tune."""
    from ray import tune

    from orchestrator.sweep.trackers import mirrors
    from orchestrator.sweep.tune_hooks import (
        RoundCallback,
        RoundScheduler,
        RoundSearcher,
        keep_credentials,
    )
    from orchestrator.sweep.watchdog import Watchdog

    keep_credentials()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # how trials end, the screen says
    alone = run.needs.workers == 1
    if alone:
        share = {"cpu": run.needs.cpus, "gpu": run.needs.gpus}
        trainable: Any = tune.with_resources(Inline, share)
    else:
        # The Tune trial only waits for its workers, on the node that is not taken back.
        trainable = tune.with_resources(ray_train_trial, {"node:__internal_head__": 0.001})
    with tempfile.TemporaryDirectory(prefix="segprint-") as folder, _graceful(run.screen):
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=RoundSearcher(run),
                scheduler=RoundScheduler(run),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=run.made.study,
                storage_path=folder,
                callbacks=[RoundCallback(run, Watchdog(run)), *mirrors(run)],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tuner.fit()
            except Exception:
                if run.error is not None:  # Tune wraps it in its own, traceback and all
                    raise run.error from None
                raise
    if run.handed:  # trials without an end: Tune left its loop on a signal
        run.screen.stopped()
    for handed in run.handed.values():
        run.ledger.leases.release(handed.trial.digest)


def _trial_name(trial: Any) -> str:
    return f"{trial.config['digest']}-{trial.trial_id}"


def _progress(made: Plan, tries: RetryState) -> tuple[int, int, int, int]:
    """Changes whenever a round achieved something, or lost what may come back."""
    done = sum(t.state in ("done", "given up") for t in made.trials)
    lost = sum(min(n, timeouts.MOST_LOST) for n in tries.lost.values())
    return done, sum(made.unsuggested.values()), made.failures, lost


@contextmanager
def _graceful(screen: ProgressDisplay) -> Generator[None]:
    """The first SIGINT or SIGTERM has trials keep a checkpoint; the second ends at once.

    Of the signals that end Tune's loop in good order, SIGUSR1 is the one that is not the
    keyboard's; Slurm and Kubernetes send SIGTERM.
    """
    seen: list[int] = []

    def leave(_: int, __: object) -> None:
        raise KeyboardInterrupt  # Tune's loop has not begun

    def stop(number: int, _: object) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt
        screen.interrupted = True  # even if the last trial ends in this moment
        screen.note("stopping: trials keep a checkpoint; once more, and it ends at once")
        os.kill(os.getpid(), signal.SIGUSR1)

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGUSR1: leave}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
