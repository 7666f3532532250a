"""The ``trials`` row of an attempt: config, environment, outcome and cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from trainables.config import Config
from trainables.decoding.cache import load
from trainables.evaluation.predict import passes_per_image
from trainables.rows import Environment, StepRow, TrialRow
from trainables.runtime.memory import peak_device, peak_host
from trainables.runtime.worker_context import WorkerContext
from trainables.training.final_test import RunResult


def trial_row(config: Config, code: str, began: datetime, environment: Environment) -> TrialRow:
    """Return the columns that are known before training, and the time of the end."""
    return {
        **environment,
        "task": config.tested.title,
        "model": config.model.name,
        "mode": config.mode.name,
        "schedule": config.mode.schedule_name,
        "seed": config.seed,
        "config": json.dumps(config.plain(), sort_keys=True),
        "data_hash": load(config.tested).content_hash,
        "trained_on": config.task.title,
        "trainings": list(config.training_digests),
        "passes_per_image": passes_per_image(config),
        "started_at": began,
        "ended_at": datetime.now(UTC),
        "code": code,
    }


def finished(trial: TrialRow, result: RunResult, context: WorkerContext) -> TrialRow:
    """Return the row of a finished attempt, with its cost."""
    record = result.record
    reading = result.test_seconds + result.probe_seconds + result.further_seconds
    training = record.train_seconds + record.validate_seconds - record.kept_seconds
    row: TrialRow = {
        **trial,
        "outcome": "finished",
        "steps": record.history[-1]["step"],
        "best_step": record.best_step,
        "score": record.best_score,
        "parameters": result.parameters,
        "macs_per_pass": result.macs_per_pass,
        "train_seconds": record.train_seconds,
        "validate_seconds": record.validate_seconds,
        "test_seconds": result.test_seconds,
        "probe_seconds": result.probe_seconds,
        "probe_passes": result.probe_passes,
        "test_images": result.test_images,
        "reading_seconds": reading,
        "device_seconds": (training + reading) * context.world,
        "weights": result.weights,
        "peak_host_bytes": peak_host(),
        "peak_device_bytes": peak_device(context.device),
    }
    if result.passes_per_image is not None:
        row["passes_per_image"] = result.passes_per_image
    if result.microbatch_factor > 1:
        row["reason"] = (
            f"short of memory: each batch in {result.microbatch_factor} times more parts"
        )
    return row


def unfinished(trial: TrialRow, outcome: str, reason: str, history: Sequence[StepRow]) -> TrialRow:
    """Return the row of an attempt that did not finish, with the cost of its validated steps."""
    best = max(history, key=mean_score, default=None)
    seconds = sum(row["seconds"] for row in history) if history else None
    world = trial.get("world_size")
    return {
        **trial,
        "outcome": outcome,
        "reason": reason,
        "steps": history[-1]["step"] if history else 0,
        "best_step": best["step"] if best else None,
        "score": mean_score(best) if best else None,
        "train_seconds": seconds,
        "device_seconds": seconds * world if seconds is not None and world is not None else None,
    }


def mean_score(row: StepRow) -> float:
    """Return the mean score of a validation."""
    return row["score_sum"] / row["score_count"]
