"""The costs of committed trials, by the kind of the trial."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.timed_step import Seconds
from orchestrator.tables.snapshot import Snapshot
from trainables.config import Config

COLUMNS = [
    *("task", "model", "mode", "config", "outcome", "steps", "device", "world_size"),
    *("device_seconds", "train_seconds", "validate_seconds", "reading_seconds"),
    *("passes_per_image", "test_images", "probe_passes"),
]
"""The columns of ``trials`` that costs are estimated from."""
SEED = re.compile(r'"seed": \d+')
MANY = 19
"""From so many trials on, their 5 % and 95 % quantiles are the ends of an interval."""
PRIOR_TRIALS, PRIOR_DEVIATION = 6, 0.15
"""Fewer trials are joined by so many whose cost deviates by this standard deviation of its log."""


class TrialKind(NamedTuple):
    """Trials that have about the same costs per step and per pass."""

    task: str
    model: str
    mode: str
    size: str
    """The fields of the model and of the data set, and the batch, as text."""


class Interval(NamedTuple):
    """A median, and the range that nine of ten new trials fall into."""

    low: float
    middle: float
    high: float


@dataclass
class _Rates:
    """The costs per step and per pass of the committed trials of one kind on one device."""

    per_step: list[float] = field(default_factory=list[float])
    per_pass: list[float] = field(default_factory=list[float])


class CommittedCosts:
    """Costs per step and per pass of each kind of trial; reads the ledger once.

    Trials on this machine's device are used if there are any, else those on the most usual device.
    """

    def __init__(self, ledger: Ledger, device: str) -> None:
        rates: dict[TrialKind, dict[str, _Rates]] = {}
        count, sizes = Counter[str](), _StoredSizes()
        for row in Snapshot(ledger.store).table("trials").select(COLUMNS).to_pylist():
            if row["device_seconds"] is None or row["outcome"] not in ("finished", "pruned"):
                continue
            kind = TrialKind(row["task"], row["model"], row["mode"], sizes.of(row["config"]))
            name = row["device"] or ""
            count[name] += 1
            measured = rates.setdefault(kind, {}).setdefault(name, _Rates())
            seconds = spent(row)
            measured.per_step.append(seconds.training / max(1, row["steps"] or 0))
            if row["outcome"] == "finished":
                images = (row["passes_per_image"] or 0) * (row["test_images"] or 0)
                passes = images + (row["probe_passes"] or 0)
                measured.per_pass.append(seconds.reading / max(1, passes))
        self.devices = {
            kind: max(by_device, key=lambda name: (name == device, count[name], name))
            for kind, by_device in rates.items()
        }
        chosen = {kind: rates[kind][name] for kind, name in self.devices.items()}
        self.per_step = {kind: interval(r.per_step) for kind, r in chosen.items()}
        self.per_pass = {kind: interval(r.per_pass) for kind, r in chosen.items() if r.per_pass}

    def kind(self, config: Config) -> TrialKind | None:
        """Return the kind of a trial, or that of its training if its external test set is new.

        None if there is no committed trial of either.
        """
        size = kind_size(config.plain())
        for task in (config.tested, config.task):
            kind = TrialKind(task.title, config.model.name, config.mode.name, size)
            if kind in self.per_step:
                return kind
        return None


def kind_size(plain: Mapping[str, Any]) -> str:
    """Return the fields of a plain config that decide the cost of a step, as text; no seeds."""
    fields = [plain.get("task"), plain.get("model"), plain.get("train", {}).get("batch")]
    return SEED.sub("", json.dumps(fields, sort_keys=True))


class _StoredSizes:
    """The sizes of stored configs; those that differ by seeds only are parsed once."""

    def __init__(self) -> None:
        self._sizes: dict[str, str] = {}

    def of(self, text: str | None) -> str:
        """Return the size of a config's JSON text; empty if it is damaged."""
        key = SEED.sub("", text or "")
        if key not in self._sizes:
            try:
                self._sizes[key] = kind_size(json.loads(text or ""))
            except (ValueError, AttributeError):
                self._sizes[key] = ""
        return self._sizes[key]


def spent(row: Mapping[str, Any]) -> Seconds:
    """Return the device-seconds of training and of reading; without times all are training."""
    workers = row["world_size"] or 1
    if row["train_seconds"] is None:
        return Seconds(row["device_seconds"], 0.0)
    training = ((row["train_seconds"] or 0.0) + (row["validate_seconds"] or 0.0)) * workers
    if row["reading_seconds"] is None:
        return Seconds(training, max(0.0, row["device_seconds"] - training))
    return Seconds(training, row["reading_seconds"] * workers)


def interval(values: Sequence[float]) -> Interval:
    """Return the median and the range that nine of ten new values fall into.

    Of few values, the range is the prediction interval of a log-normal law (Student t), with a
    prior deviation: one value alone does not say how much the next one differs.

    >>> [round(x, 1) for x in interval([10.0])], interval([0.0])
    ([6.6, 10.0, 15.1], Interval(low=0.0, middle=0.0, high=0.0))
    """
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
    positive = [value for value in values if value > 0]
    if len(values) >= MANY or not positive or middle <= 0:
        return Interval(low, middle, high)
    logs = np.log(positive)
    freedom = PRIOR_TRIALS + len(positive) - 1
    squares = PRIOR_TRIALS * PRIOR_DEVIATION**2 + float(((logs - logs.mean()) ** 2).sum())
    deviation = math.sqrt(squares / freedom * (1 + 1 / len(positive)))
    factor = math.exp(float(stats.t.ppf(0.95, freedom)) * deviation)
    return Interval(middle / factor, middle, middle * factor)
