"""Config: everything that decides a run's numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainables import masks
from trainables.datasets import Dataset
from trainables.models import Model
from trainables.modes import Mode
from trainables.part import parse_dataclass, parts_in, plain, require

VERSION = 1
"""Bumped when the loop or the evaluation changes the numbers of an unchanged Config."""


@dataclass(frozen=True)
class Train:
    """How the network is trained. Batches are global: they do not depend on the world size."""

    steps: int = 200
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 0
    """Steps over which the learning rate rises from 0."""
    decay: Literal["none", "linear"] = "none"
    """Whether it then falls to 0 at the last step."""
    weight_decay: float = 0.0
    ema: float = 0.99
    """Decay of the averaged weights, reached from below: min(ema, (1 + step)/(10 + step))."""
    clip: float = 1.0
    """Largest gradient norm."""
    validate_every: int = 50
    """Steps between validations, each of which is also a checkpoint."""
    flips: bool = True
    """Augment by the eight symmetries of the square."""

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"steps={self.steps} must not be negative")
        require(self.batch >= 1, f"batch={self.batch} must be at least 1")
        require(self.learning_rate > 0, f"learning_rate={self.learning_rate} must be positive")
        require(self.warmup >= 0, f"warmup={self.warmup} must not be negative")
        require(self.weight_decay >= 0, f"weight_decay={self.weight_decay} must not be negative")
        require(0 <= self.ema < 1, f"ema={self.ema} must lie in [0, 1)")
        require(self.clip > 0, f"clip={self.clip} must be positive")
        require(self.validate_every >= 1, f"validate_every={self.validate_every} must be >= 1")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        fall = 1 - step / self.steps if self.decay == "linear" else 1.0
        return self.learning_rate * min(rise, fall)


@dataclass(frozen=True)
class Probe:
    """How finely the timestep fingerprint is measured; diffusion only."""

    bins: int = 16
    """Strata in λ, and as many in t."""
    draws: int = 2
    """Noise draws per case and stratum."""

    def __post_init__(self) -> None:
        require(self.bins >= 0, f"bins={self.bins} must not be negative")
        require(self.draws >= 1, f"draws={self.draws} must be at least 1")


@dataclass(frozen=True)
class Config:
    """One run. Workers, devices, paths and log intervals are not here: they change no number."""

    task: Dataset
    model: Model
    mode: Mode
    train: Train = field(default_factory=Train)
    probe: Probe = field(default_factory=Probe)
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self.task.size % self.model.stride == 0,
            f"task.{self.task.name}.size={self.task.size} must be a multiple of"
            f" {self.model.stride}, the stride of model {self.model.name}",
        )
        require(
            self.model.learns or self.train.steps == 0,
            f"train.steps={self.train.steps} must be 0: model {self.model.name} has no gradient",
        )

    @property
    def mask_channels(self) -> int:
        """Channels of the task's mask."""
        return masks.channels(len(self.task.classes))

    def plain(self) -> dict[str, Any]:
        """JSON form with every default written out; :func:`parse` is its inverse."""
        return plain(self)

    def digest(self) -> str:
        """Its name everywhere: a hash of its content, its data and its formulas' versions."""
        identity = {
            "config": self.plain(),
            "data": self.task.content_hash(),
            "versions": {f"{p.kind}/{p.name}": p.version for p in parts_in(self)},
            "version": VERSION,
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def parse(spec: Mapping[str, object]) -> Config:
    """Build a Config from its plain form.

    Raises:
        ValueError: an unknown field or part, or a value outside its domain; names the path, the
            value, the rule and the choices.
    """
    return parse_dataclass(Config, spec, "config")
