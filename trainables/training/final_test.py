"""The final test: evaluates the best weights on test and validation cases, with all controls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch

from trainables.data import tiles, wholes
from trainables.evaluation import evaluate, pictures, probe, temperature
from trainables.metrics.dice import Dice
from trainables.models import multiply_adds
from trainables.rows import CaseRow, LogRow, ProbeRow, Rows
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError
from trainables.trainer import Trainer, TrainingRecord
from trainables.training.trained import weights_hash

T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run, complete on rank 0."""

    record: TrainingRecord
    rows: Rows
    probes: list[ProbeRow]
    logs: list[LogRow]
    microbatch_factor: int
    parameters: int
    macs_per_pass: int
    passes_per_image: int | None
    """Counted during the test, for a network that decides itself how many passes it makes."""
    probe_passes: int
    test_images: int
    test_seconds: float
    probe_seconds: float
    further_seconds: float
    """The time for validation cases, controls and pictures after the test."""
    weights: list[str]
    """The hash of each network's weights; empty for a network that a library keeps."""


def final_test(run: Run, trainer: Trainer) -> RunResult:
    """Evaluate the best weights once on the test cases, and on validation cases for later fits."""
    began = time.perf_counter()
    context, network, test = run.context, trainer.final_network, run.data.test
    passes = network.passes
    rows = on_all_workers(context, lambda: evaluate.measure(run, network, "test"))
    tested = time.perf_counter()
    passes = network.passes - passes
    rows.extend(on_all_workers(context, lambda: evaluate.measure(run, network, "val")))
    _score_as_read(trainer, context.gather(rows.cases))
    rows.extend(on_all_workers(context, lambda: evaluate.measure_controls(run, network)))
    if "temperature" in run.config.test.controls:
        logits = on_all_workers(context, lambda: evaluate.validation_logits(run, network))
        fitted = temperature.fit(logits, context.all_reduce_sum)
        rows.extend(on_all_workers(context, lambda: evaluate.measure_scaled(run, network, fitted)))
    rows.extend(on_all_workers(context, lambda: pictures.measure(run, network)))
    probing = time.perf_counter()
    probes = probe.measure(run, network)
    probed = time.perf_counter()
    return RunResult(
        record=trainer.record,
        rows=_gathered(context, rows),
        probes=context.gather(probes),
        logs=trainer.logs,
        microbatch_factor=trainer.run.context.microbatch_factor,
        parameters=sum(p.numel() for p in network.parameters()),
        macs_per_pass=multiply_adds(network, run.config.ports, run.config.task.size),
        passes_per_image=round(passes / len(wholes(test))) if passes else None,
        probe_passes=probe.passes(run.config, len(tiles(test, run.data.size))),
        test_images=len(wholes(test)),
        test_seconds=tested - began,
        probe_seconds=probed - probing,
        further_seconds=probing - tested,
        weights=hashes(trainer),
    )


def _score_as_read(trainer: Trainer, cases: Sequence[CaseRow]) -> None:
    """Replace the best score by the mean Dice of the validation cases under the run's reading.

    Validation during training has a reading of its own.
    """
    read = [row for row in cases if (row["split"], row["reading"]) == ("val", "sample")]
    dice = [
        float(Dice().value({name: np.array(row[name], float) for name in evaluate.COUNTS}))
        for row in read
    ]
    trainer.record.best_score = float(torch.tensor(dice, dtype=torch.float64).sum()) / len(dice)
    if trainer.networks > 1:
        trainer.record.best_step = trainer.record.history[-1]["step"]


def hashes(trainer: Trainer) -> list[str]:
    """Return the hash of the weights of each network that the run reads."""
    if trainer.run.config.model.trains_itself:
        return []
    return [weights_hash(network) for network in [*trainer.trained, trainer.best]]


def _gathered(context: WorkerContext, rows: Rows) -> Rows:
    """Return the rows of all workers, table by table."""
    return Rows(**{table: context.gather(rows) for table, rows in vars(rows).items()})


def on_all_workers(context: WorkerContext, work: Callable[[], T]) -> T:
    """Run ``work`` on every worker; a divergence on one is raised on all, so that none waits."""
    error, result = None, None
    try:
        result = work()
    except DivergedError as diverged:
        error = diverged
    if float(context.all_reduce_sum(torch.tensor([float(error is not None)]))) > 0:
        raise error or DivergedError("a prediction of another worker is not finite")
    return cast("T", result)
