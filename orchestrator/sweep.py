"""Run what a plan is missing, through Ray Tune; the same call again continues or does nothing."""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster import Cluster, Resources
from orchestrator import policy
from orchestrator.fill import SCORE, CellSearch
from orchestrator.ledger import Declared, Ledger, LedgerSink
from orchestrator.plan import Plan, Trial, plan, scores
from orchestrator.provenance import code_version
from orchestrator.screen import Screen
from search_spaces import Space
from trainables.attempt import commit_unfinished
from trainables.worker import Inline, ray_train_trial

Result = dict[str, Any]


class SweepError(ValueError):
    """The sweep cannot go on."""


def sweep(study: str, space: Space, ledger: Ledger, cluster: Cluster, screen: Screen) -> Plan:
    """Train whatever the study still lacks, and return the plan as it stands afterwards.

    Raises:
        ValueError: the space asks for something that no config can be.
        SweepError: the cluster cannot run the study's trials.
    """
    made = plan(study, space, ledger)
    expected = cluster.expected()
    if expected is not None:
        feasible(made, expected)
    about = {"question": space.question, "arms": list(space.arms), "revision": made.revision}
    ledger.describe(study, about)
    _declare(made, ledger)
    _tidy(made, ledger)
    if made.complete:
        return made
    with cluster.connect() as resources:
        feasible(made, resources)
        screen.begin(made)
        while not made.complete:
            before = _progress(made)
            _round(made, ledger, resources, screen)
            made = plan(study, space, ledger)
            _declare(made, ledger)
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
    run = Run(made, queue, searches, ledger, sink, screen, known)
    _tune(run, workers, resources)


@dataclasses.dataclass
class Handed:
    """A trial that Tune is working on."""

    trial: Trial
    search: CellSearch | None
    best: float | None = None
    pruned: bool = False


class Run:
    """What Tune's searcher, scheduler and callback share: which trial is what, and the ledger."""

    def __init__(
        self,
        made: Plan,
        queue: list[Trial],
        searches: list[CellSearch],
        ledger: Ledger,
        sink: LedgerSink,
        screen: Screen,
        scores: dict[str, float],
    ) -> None:
        self.made, self.queue, self.searches = made, list(queue), searches
        self.ledger, self.sink, self.screen = ledger, sink, screen
        self.handed: dict[str, Handed] = {}
        self.rungs = _rungs(made, ledger)
        self.index = {
            cell.name: [t.index for t in made.trials if t.cell is cell and t.stage == "search"]
            for cell in made.cells
        }
        self.known = {t.digest for t in made.trials}
        self.waiting = {t.digest: t for t in made.pending if t.stage == "search"}
        self.scores = scores
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its hooks, to restore them later; here the ledger is the memory

    @contextmanager
    def remembering(self) -> Generator[None]:
        """Keep an error that is raised into Tune, which would hide it in one of its own."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def next(self, tune_id: str) -> Trial | None:
        """The next trial to run: enumerated ones first, then the searches in turn."""
        if self.queue:
            self.handed[tune_id] = Handed(self.queue.pop(0), None)
            return self.handed[tune_id].trial
        while self.searches:
            search = self.searches.pop(0)
            if search.left <= 0:
                continue
            self.searches.append(search)
            trial = self._suggest(search, tune_id)
            if trial is not None:
                self.handed[tune_id] = Handed(trial, search)
                return trial
        return None

    def _suggest(self, search: CellSearch, tune_id: str) -> Trial | None:
        """Ask Optuna, and declare what it said before anything runs; None if it repeats itself."""
        assert self.made.space.search is not None
        settings, cell = self.made.space.search, search.cell
        asked = f"{tune_id}-{search.left}"
        values = search.ask(asked)
        config = cell.config(values, settings.overrides, settings.seed)
        digest = config.digest()
        if digest in self.waiting:
            search.rename(asked, tune_id)
            return self.waiting.pop(digest)
        index = max(self.index[cell.name], default=-1) + 1
        self.index[cell.name].append(index)
        trial = Trial(cell, "search", index, config, values, 1, None, "pending")
        _declare_one(self.made, trial, self.ledger)
        if digest in self.known:  # trained already, or right now: it counts, and is told as such
            score = self.scores.get(digest)
            search.tell(asked, "finished" if score is not None else "pruned", score)
            return None
        self.known.add(digest)
        search.rename(asked, tune_id)
        return trial

    def reported(self, tune_id: str, result: Result) -> bool:
        """Take a validation; whether the trial goes on."""
        handed = self.handed[tune_id]
        if "score" not in result or result["score"] is None:
            return True
        step, score = int(result["step"]), float(result["score"])
        handed.best = max(score, handed.best if handed.best is not None else score)
        self.scores[handed.trial.digest] = handed.best
        self.screen.progress(tune_id, handed.trial, step, int(result["steps"]), score)
        if handed.search is None or self.made.space.search is None:
            return True
        handed.search.report(tune_id, step, score)
        if step not in self.made.space.search.rungs or step >= int(result["steps"]):
            return True
        others = self.rungs.setdefault((handed.trial.cell.name, step), [])
        stop = policy.stop_early(score, others)
        others.append(score)
        if stop:
            handed.pruned = True
            reason = f"score {score:.4f} in the lower half at step {step}"
            commit_unfinished(handed.trial.config, self.sink, "pruned", reason)
        return not stop

    def ended(self, tune_id: str, result: Result, error: str | None) -> None:
        """Take the end of a trial: tell Optuna and the screen, record what nobody else could."""
        handed = self.handed.pop(tune_id)
        outcome = "failed" if error else "pruned" if handed.pruned else result.get("outcome")
        if error:
            commit_unfinished(handed.trial.config, self.sink, "failed", error)
        if outcome is None:  # stopped with the sweep: neither told nor recorded, to be resumed
            self.screen.stopped()
            return
        if handed.search is not None:
            handed.search.tell(tune_id, outcome, handed.best)
        self.screen.ended(tune_id, handed.trial, outcome, handed.best)


def _tune(run: Run, workers: int, resources: Resources) -> None:
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


def _rungs(made: Plan, ledger: Ledger) -> dict[tuple[str, int], list[float]]:
    """Scores that committed search trials had at each rung, by cell and step."""
    found: dict[tuple[str, int], list[float]] = {}
    if made.space.search is None:
        return found
    cell_of = {t.digest: t.cell.name for t in made.trials if t.stage == "search"}
    for row in ledger.table("steps", set(cell_of)).to_pylist():
        if row["step"] in made.space.search.rungs and row["score_count"]:
            key = (cell_of[row["digest"]], row["step"])
            found.setdefault(key, []).append(row["score_sum"] / row["score_count"])
    return found


def _declare(made: Plan, ledger: Ledger) -> None:
    known = {d.key for d in ledger.declared(made.study, made.revision)}
    for trial in made.trials:
        if _place(made, trial).key not in known:
            _declare_one(made, trial, ledger)


def _declare_one(made: Plan, trial: Trial, ledger: Ledger) -> None:
    about = {
        "arm": trial.cell.arm,
        "config": trial.config.plain(),
        "values": trial.values,
        "workers": trial.workers,
    }
    ledger.declare(_place(made, trial), about)


def _place(made: Plan, trial: Trial) -> Declared:
    """Where a trial stands in its study."""
    return Declared(
        made.study, made.revision, trial.cell.name, trial.stage, trial.index, trial.digest
    )


@contextmanager
def _sigterm_as_sigint() -> Generator[None]:
    """Tune stops gracefully on SIGINT only; Slurm and Kubernetes send SIGTERM."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
