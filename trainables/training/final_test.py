"""What a trained network leaves: it is read once on the test cases, and on validation ones."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch

from trainables.config import Config
from trainables.data import Prepared, tiles
from trainables.evaluation import evaluate, pictures, probe, temperature
from trainables.evaluation.evaluate import Rows
from trainables.models import Network, multiply_adds
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError
from trainables.training.state import Tally, Training

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves, complete on rank 0.

    ``further_seconds`` are those of validation cases, controls and pictures after the test.
    """

    tally: Tally
    rows: Rows
    probes: list[Row]
    logs: list[Row]
    split: int
    parameters: int
    macs_per_pass: int
    passes_per_image: int | None
    """Counted, where the network decides itself how many it takes."""
    probe_passes: int
    test_images: int
    test_seconds: float
    probe_seconds: float
    further_seconds: float


def test(config: Config, state: Training, data: Prepared, context: WorkerContext) -> RunResult:
    """Evaluate the best weights once on the test cases, and on validation for later fits."""
    began = time.perf_counter()
    best = state.whole
    counted = best.passes
    test = together(context, lambda: evaluate.measure(config, best, data.test, "test", context))
    tested = time.perf_counter()
    counted = best.passes - counted
    val = together(context, lambda: evaluate.measure(config, best, data.val, "val", context))
    others = together(context, lambda: evaluate.measure_controls(config, best, data.test, context))
    scaled = _scaled(config, best, data, context)
    shown = together(context, lambda: pictures.measure(config, best, data.test, context))
    probing = time.perf_counter()
    probes = probe.measure(config, best, data.test, context)
    probed = time.perf_counter()
    read = (test, val, others, scaled, shown)
    all_rows = {
        f.name: [row for rows in read for row in getattr(rows, f.name)]
        for f in dataclasses.fields(Rows)
    }
    return RunResult(
        tally=state.tally,
        rows=Rows(**{name: context.gather(rows) for name, rows in all_rows.items()}),
        probes=context.gather(probes),
        logs=state.logs,
        split=context.microbatch_factor,
        parameters=sum(p.numel() for p in best.parameters()),
        macs_per_pass=multiply_adds(best, config.ports, config.task.size),
        passes_per_image=round(counted / len(data.test)) if counted else None,
        probe_passes=probe.passes(config, len(tiles(data.test, data.size))),
        test_images=len(data.test),
        test_seconds=tested - began,
        probe_seconds=probed - probing,
        further_seconds=probing - tested,
    )


def _scaled(config: Config, best: Network, data: Prepared, context: WorkerContext) -> Rows:
    """The test cases at the temperature of the validation cases, where that is asked for."""
    if "temperature" not in config.test.controls:
        return Rows()
    seen = together(context, lambda: evaluate.seen(config, best, data.val, context))
    by = temperature.fitted(seen, context.all_reduce_sum)
    return together(context, lambda: evaluate.measure_scaled(config, best, data.test, context, by))


def together(context: WorkerContext, work: Callable[[], T]) -> T:
    """What diverges on one worker is raised on all, so that none is left waiting."""
    error, done = None, None
    try:
        done = work()
    except DivergedError as diverged:
        error = diverged
    if float(context.all_reduce_sum(torch.tensor([float(error is not None)]))) > 0:
        raise error or DivergedError("a prediction of another worker is not finite")
    return cast("T", done)
