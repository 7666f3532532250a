"""A committed trial: how it is loaded, and how it is trained again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.published_store import PublishedStore
from orchestrator.tables.snapshot import Snapshot
from trainables.checkpoint import Checkpoint
from trainables.config import Config, absent_paths, parse
from trainables.decoding.cache import load
from trainables.runtime.environment import environment_of
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import SCHEMAS, Outcome, Row, Tables
from trainables.training.attempt import attempt, commit_unfinished
from trainables.training.loop import Progress
from trainables.training.run_status import RunStatus
from trainables.training.trained import Trained
from trainables.trusted_files import UntrustedError, only_trusted


@dataclass(frozen=True)
class StoredTrial:
    """The committed attempt of a trial: its rows by table, and its config."""

    tables: dict[str, pa.Table]
    config: Config
    microbatch_factor: int = 1
    """The factor on the configured number of microbatches; above 1 after memory was exhausted."""
    published: bool = False
    """Whether the rows are those of a published study, which are rounded and have no histograms of
    validation cases."""

    @property
    def trial(self) -> Row:
        """The attempt's row of the ``trials`` table."""
        return self.tables["trials"].to_pylist()[0]


class InMemorySink:
    """A :class:`trainables.training.sink.Sink` that keeps checkpoint, rows and weights."""

    trains = True

    def __init__(self, code: str) -> None:
        self.code = code
        self.outcome: Outcome | None = None
        self.tables: Tables = {}
        self.trained: dict[str, Trained] = {}
        """The weights of each network, by the digest of its training."""
        self._checkpoint: Checkpoint | None = None

    def done(self, digest: str) -> Outcome | None:
        return self.outcome

    def pruned(self, digest: str) -> bool:
        return self.outcome == "pruned"

    def resume(self, digest: str) -> Checkpoint | None:
        return self._checkpoint

    checkpoint = resume

    def keep(self, digest: str, checkpoint: Checkpoint, status: RunStatus | None = None) -> None:
        self._checkpoint = checkpoint

    def alive(self, digest: str, status: RunStatus | None = None) -> None:
        """Do nothing: nobody watches the run."""

    def weights(self, training: str) -> Trained | None:
        """Return None: every network is trained."""
        return None

    def keep_weights(self, trained: Trained) -> Trained:
        self.trained[trained.training] = trained
        return trained

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        self.outcome, self.tables = outcome, tables


def load_trial(ledger: Ledger, digest: str, trusted: Iterable[str] = ()) -> StoredTrial:
    """Return what is committed under a digest; of Python files, its config may name ``trusted``.

    Raises:
        ValueError: nothing is; or the fields of its config, its data or its formulas have changed
            since; or it names another Python file.
    """
    snapshot = Snapshot(ledger.store)
    tables = {name: snapshot.table(name, [digest]) for name in SCHEMAS}
    if not tables["trials"].num_rows:
        raise ValueError(f"no committed trial has the digest {digest!r}")
    trial: Row = tables["trials"].to_pylist()[0]
    with only_trusted(trusted):
        config = _config(digest, trial)
    published, factor = isinstance(ledger.store, PublishedStore), 1
    if trial["outcome"] == "finished" and trial["reason"]:  # it ran short of memory
        factor = ledger.failed_attempts.microbatch_factors([digest])[digest]
    return StoredTrial(tables, config, factor, published)


def _config(digest: str, trial: Row) -> Config:
    """Return the config of a trial; raise ``ValueError`` unless it still has the same digest."""
    spec, remedy = json.loads(trial["config"]), f"check out the code it ran with, {trial['code']}"
    try:
        config = parse(spec)
    except UntrustedError as error:
        raise ValueError(f"{digest}: {error}") from None
    except ValueError as error:
        raise ValueError(
            f"{digest}: this code cannot parse its config: {error}; {remedy}"
        ) from None
    new_fields = absent_paths(spec, config.plain())
    if new_fields and config.digest() != digest:
        raise ValueError(
            f"{digest}: stored before there was {', '.join(new_fields)}, and a digest covers every"
            f" field with its default: the same config is {config.digest()} now; {remedy}"
        )
    data_hash = load(config.tested).content_hash
    if data_hash != trial["data_hash"]:
        raise ValueError(
            f"{digest}: the data of {config.tested.title} have changed: their hash is {data_hash},"
            f" it was {trial['data_hash']}"
        )
    if config.digest() != digest:
        raise ValueError(
            f"{digest}: its formulas have changed: the same config is {config.digest()} now;"
            f" {remedy}"
        )
    return config


def train_again(
    stored: StoredTrial, sink: InMemorySink, context: WorkerContext
) -> Iterator[Progress]:
    """Train a trial into a sink; a pruned trial as far as it was trained before."""
    for progress in attempt(stored.config, sink, context):
        yield progress
        reached = progress.score is not None and progress.step >= stored.trial["steps"]
        if stored.trial["outcome"] == "pruned" and reached:
            environment = environment_of(context, stored.config.model.package)
            history = progress.history
            commit_unfinished(stored.config, sink, "pruned", "", environment, history)
            return
