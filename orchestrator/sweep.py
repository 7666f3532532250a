"""Run what a plan is missing, through Ray Tune; the same call again continues or does nothing."""

from __future__ import annotations

import os
import signal
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster import Cluster, Resources
from orchestrator import delta, policy
from orchestrator.fill import SCORE, CellSearch
from orchestrator.ledger import Ledger, LedgerSink
from orchestrator.plan import Plan, plan, scores
from orchestrator.provenance import code_version
from orchestrator.round import Round, declare, fold_quietly
from orchestrator.screen import Screen
from search_spaces import Space
from trainables.worker import Inline, ray_train_trial


class SweepError(ValueError):
    """The sweep cannot go on."""


def sweep(study: str, space: Space, ledger: Ledger, cluster: Cluster, screen: Screen) -> Plan:
    """Train whatever the study still lacks, and return the plan as it stands afterwards.

    Raises:
        ValueError: the space asks for something that no config can be.
        SweepError: the cluster cannot run the study's trials.
    """
    delta.agree(ledger.store)
    made = plan(study, space, ledger)
    expected = cluster.expected()
    if expected is not None:
        feasible(made, expected)
    about = {"question": space.question, "arms": list(space.arms), "revision": made.revision}
    ledger.studies.describe(study, about)
    declare(made, ledger)
    _tidy(made, ledger)
    if made.complete:
        return made
    with cluster.connect() as resources:
        feasible(made, resources)
        screen.begin(made)
        while not made.complete:
            before = _progress(made)
            _round(made, ledger, resources, screen)
            fold_quietly(ledger)
            made = plan(study, space, ledger)
            declare(made, ledger)
            if screen.interrupted or _progress(made) == before:
                break
    screen.end()
    _tidy(made, ledger)
    return made


def _tidy(made: Plan, ledger: Ledger) -> None:
    ledger.tidy({t.digest for t in made.pending}, policy.LEASE_SECONDS)


def feasible(made: Plan, resources: Resources) -> None:
    """Refuse a study whose trials would wait for ever."""
    most = max([made.space.workers, *(t.workers for t in made.pending)])
    if resources.cpus < most:
        raise SweepError(
            f"a trial needs {most} CPUs (Space.workers), the cluster has {resources.cpus}"
        )


def _round(made: Plan, ledger: Ledger, resources: Resources, screen: Screen) -> None:
    """One Tuner: all one-worker trials inline, or else the several-worker ones under Ray Train."""
    alone = [t for t in made.pending if t.workers == 1]
    if alone or made.unsuggested:
        queue, workers = [t for t in alone if t.stage != "search"], 1
    else:
        queue, workers = made.pending, max(t.workers for t in made.pending)
        queue = [t for t in queue if t.workers == workers]
    queue = list({t.digest: t for t in queue}.values())  # cells may share a config
    sink = LedgerSink(ledger, code_version())
    known = scores(ledger, {t.digest for t in made.trials})
    searches = [
        search
        for cell in made.cells
        if cell.searched and made.space.search is not None and workers == 1
        for search in [
            CellSearch(
                cell, made.past(cell, known), made.space.search.trials, made.space.search.seed
            )
        ]
        if search.left > 0
    ]
    run = Round(made, queue, searches, ledger, sink, screen, known)
    _tune(run, workers, resources)


def _tune(run: Round, workers: int, resources: Resources) -> None:
    """Hand a round to Ray Tune."""
    from ray import tune

    from orchestrator.tuning import Order, Rungs, Watch

    gpus = 1 if resources.gpus else 0
    if workers == 1:
        trainable: Any = tune.with_resources(Inline, {"cpu": 1, "gpu": gpus})
        concurrent = resources.gpus or resources.cpus
    else:
        # The Tune trial only waits for its workers: no CPU, but a token that keeps it schedulable.
        trainable = tune.with_resources(ray_train_trial, {"trial_driver": 0.01})
        concurrent = max(1, (resources.gpus or resources.cpus) // workers)
    with tempfile.TemporaryDirectory(prefix="segprint-") as folder, _sigterm_as_sigint():
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="max",
                search_alg=Order(run, workers),
                scheduler=Rungs(run),
                num_samples=-1,
                max_concurrent_trials=concurrent,
                reuse_actors=workers == 1,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=run.made.study,
                storage_path=folder,
                callbacks=[Watch(run)],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1 if workers == 1 else 0),
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


def _trial_name(trial: Any) -> str:
    return f"{trial.config['digest']}-{trial.trial_id}"


def _progress(made: Plan) -> tuple[int, int, int]:
    """Changes whenever a round achieved something."""
    done = sum(t.state in ("done", "given up") for t in made.trials)
    return done, sum(made.unsuggested.values()), made.failures


@contextmanager
def _sigterm_as_sigint() -> Generator[None]:
    """Tune stops gracefully on SIGINT only; Slurm and Kubernetes send SIGTERM."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
