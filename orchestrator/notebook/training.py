"""One config trained in this process, with a progress bar."""

from __future__ import annotations

import html
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import pandas as pd
import pyarrow as pa
from tqdm.auto import tqdm

from orchestrator.formatting import printable
from orchestrator.heldout.final_cells import FinalCell, frame
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.ledger.commits import labels_of
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.prediction.models import selected
from orchestrator.prediction.selected import Selected
from orchestrator.provenance import code_version
from orchestrator.reproduce import InMemorySink
from orchestrator.statistics.estimates import columns
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
from trainables.config import Config, parse
from trainables.models import require_installed
from trainables.part import parts_in
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.schemas import SCHEMAS, Outcome, Row, to_arrow
from trainables.training.attempt import attempt
from trainables.training.loop import Progress
from trainables.training.sink import Sink
from trainables.training.trained_model import TrainedModel

MAIN = ("dice", "iou", "ece", "brier")
"""Metrics that the summary shows."""


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """The end of a training: its rows, the metrics of its test cases and its trained model."""

    config: Config
    tables: Mapping[str, pa.Table] = field(compare=False)
    """The rows of the attempt, by table."""
    ledger: Ledger | None = None
    """Where the rows and the weights are kept; None: in this object only."""
    kept: Selected | None = None
    """The weights that are kept in this object."""

    @cached_property
    def trial(self) -> Row:
        """The row of the table ``trials``."""
        return self.tables["trials"].to_pylist()[0]

    @property
    def digest(self) -> str:
        """The identity of the config."""
        return self.trial["digest"]

    @property
    def outcome(self) -> Outcome:
        """``finished``, ``diverged`` or ``failed``."""
        return self.trial["outcome"]

    @property
    def reason(self) -> str | None:
        """The reason of another outcome than ``finished``."""
        return self.trial["reason"]

    @property
    def score(self) -> float | None:
        """The validation Dice under the config's own reading; None without a validation.

        Of an unfinished training it is the best one.
        """
        return self.trial["score"]

    @property
    def history(self) -> pd.DataFrame:
        """One row per validation: ``step``, mean ``loss`` since the last one, ``score``, seconds.

        The score is the mean Dice of the validation cases.
        """
        rows = frame(self.tables["steps"]).sort_values("step")
        columns = {
            "step": rows["step"],
            "loss": rows["loss_sum"] / rows["loss_count"],
            "score": rows["score_sum"] / rows["score_count"],
            "seconds": rows["seconds"],
        }
        return pd.DataFrame(columns).reset_index(drop=True)

    @cached_property
    def metrics(self) -> dict[str, float | str]:
        """``NAME``, ``NAME_low``, ``NAME_high`` and ``NAME_method`` of every known metric.

        They are those of the view ``leaderboard`` on the test cases, for this training alone; empty
        unless it finished.
        """
        if self.outcome != "finished":
            return {}
        task, model, mode = (self.trial[name] for name in ("task", "model", "mode"))
        cell = FinalCell("", task, "", model, mode, "", frame(self.tables["trials"]))
        measured = HeldOut(cast("Any", self.tables), load_metrics(), [cell]).measure(cell)
        return {name: value for name, value in columns(measured).items() if value is not None}

    @cached_property
    def model(self) -> TrainedModel:
        """The trained model: a ``torch.nn.Module`` with ``predict(images)``.

        Raises:
            ValueError: the weights are not kept: the training did not finish, or an external
                library keeps them.
        """
        files = [str(part.file) for part in parts_in(self.config) if part.file is not None]
        if self.ledger is not None:
            return selected(self.ledger, self.digest).model(files)
        if self.kept is None or not self.kept.weights:
            raise ValueError(f"{self.digest} has no weights: {self.outcome}")
        return self.kept.model(files)

    def __repr__(self) -> str:
        score = "–" if self.score is None else f"{self.score:.4f}"
        text = f"{self.digest}: {self.outcome}, best validation Dice {score}"
        if self.reason:
            text += f"; {self.reason}"
        shown = [f"{name} {self.metrics[name]:.4f}" for name in MAIN if name in self.metrics]
        return printable(f"{text}; test {', '.join(shown)}" if shown else text)

    def _repr_html_(self) -> str:
        names = [name for name in self.metrics if f"{name}_low" in self.metrics]
        rows = {n: [self.metrics[f"{n}{end}"] for end in ("", "_low", "_high")] for n in names}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["test", "low", "high"])
        return f"<p>{html.escape(repr(self))}</p>{table.round(4).to_html() if names else ''}"


def train(
    config: Config | Mapping[str, Any], store: str | None = None, *, progress: bool = True
) -> TrainingResult:
    """Train one config in this process, on its GPU where there is one.

    ``config`` may be in plain form, as in a space without parameters. With a ``store``, a directory
    or ``s3://BUCKET/PREFIX``, rows and weights are committed there, a committed config is not
    trained again, and an interrupted training is continued. Without, they stay in the result.

    Raises:
        ValueError: the config is not valid, or needs a library that is not installed.
    """
    parsed = config if isinstance(config, Config) else parse(config)
    require_installed(parsed.model)
    digest = parsed.digest()
    if store is None:
        sink = InMemorySink(code_version())
        _follow(parsed, sink, WorkerContext(device=best_device()), progress)
        key = {"digest": digest, "attempt": "", **labels_of(sink.tables["trials"][0])}
        tables = {name: to_arrow(name, sink.tables.get(name, []), key) for name in SCHEMAS}
        weights = tuple(
            sink.trained[training]
            for training in parsed.training_digests
            if training in sink.trained
        )
        kept = Selected(tables["trials"].to_pylist()[0], weights)
        return TrainingResult(parsed, tables, kept=kept)
    ledger = Ledger(Store(store))
    if ledger.done(digest) is None:
        factor = ledger.failed_attempts.microbatch_factors([digest])[digest]
        context = WorkerContext(device=best_device(), microbatch_factor=factor)
        _follow(parsed, LedgerSink(ledger, code_version()), context, progress)
    snapshot = Snapshot(ledger.store)
    tables = {name: snapshot.table(name, [digest]) for name in SCHEMAS}
    return TrainingResult(parsed, tables, ledger)


def _follow(config: Config, sink: Sink, context: WorkerContext, progress: bool) -> None:
    """Train, and show how far it is."""
    run: Generator[Progress, None, Any] = attempt(config, sink, context)
    title = f"{config.task.title}, {config.model.name}"
    with tqdm(
        total=config.train.steps, desc=printable(title), unit="step", disable=not progress
    ) as bar:
        for state in run:
            bar.total = state.steps
            bar.update(state.step - bar.n)
            if state.score is not None:
                bar.set_postfix_str(f"validation Dice {state.score:.3f}")
