"""Config: everything that decides a run's numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any, Literal

from trainables import controls, library_rules
from trainables.augment import Augment
from trainables.controls import Control
from trainables.datasets import Dataset
from trainables.decoding.cache import content_hash
from trainables.models import Model, Ports
from trainables.modes import Mode
from trainables.modes.diffusion import Diffusion
from trainables.part import Part, identity, parse_dataclass, parts_in, plain, require
from trainables.samplers.ddpm import DDPM

VERSION = 2
"""Bumped when the loop or the evaluation changes the numbers of an unchanged Config."""


@dataclass(frozen=True)
class Train:
    """How the network is trained. Batches are global: they do not depend on the world size."""

    steps: int = 200
    batch: int = 16
    accumulate: int = 1
    """Parts that each worker's share of a batch is passed in, one after the other."""
    learning_rate: float = 1e-3
    warmup: int = 0
    """Steps over which the learning rate rises from 0."""
    decay: Literal["none", "linear"] = "none"
    """Whether it then falls to 0 at the last step; linear: the polynomial of power 1."""
    weight_decay: float = 0.0
    ema: float = 0.99
    """Decay of the averaged weights, reached from below: min(ema, (1 + step)/(10 + step))."""
    clip: float = 1.0
    """Largest gradient norm."""
    validate_every: int = 50
    """Steps between validations, each of which is also a checkpoint."""
    patience: int = 0
    """Validations without a better score after which training stops; 0: never."""
    fraction: float = 1.0
    """Share of the training images that is trained on, rounded up; a smaller share is a subset of a
    larger one with the same seed. Normalisation is by all of them."""
    augment: Augment = field(default_factory=Augment)
    foreground: float = 0.0
    """Share of the crops that are cut around a pixel of the foreground, of each class as often;
    for targets so small that most crops miss them."""
    control: Control = "none"
    """What the network is shown instead, in training and when it is tested; a network trained on
    another case's noisy mask samples from its own, which it has learnt to ignore."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast, weights and optimiser stay in float32."""
    compile: bool = False
    """Train with torch.compile."""

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"steps={self.steps} must not be negative")
        require(self.batch >= 1, f"batch={self.batch} must be at least 1")
        require(
            self.accumulate >= 1 and self.batch % self.accumulate == 0,
            f"accumulate={self.accumulate} must divide batch={self.batch}",
        )
        require(0 < self.fraction <= 1, f"fraction={self.fraction} must lie in (0, 1]")
        require(0 <= self.foreground <= 1, f"foreground={self.foreground} must lie in [0, 1]")
        require(self.patience >= 0, f"patience={self.patience} must not be negative")
        require(
            self.control == "none" or self.batch >= 2,
            f"batch={self.batch} must be at least 2 with control={self.control!r}",
        )
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


Reading = Literal["shuffled_image", "dropped_image", "temperature"]


@dataclass(frozen=True)
class Evaluation:
    """How held-out data are read."""

    unit: Literal["tiles", "images"] = "tiles"
    """Tiles of the training size side by side, or whole images at native size."""
    overlap: float = 0.5
    """Share of its side that a patch has in common with the next, where images are larger."""
    controls: tuple[Reading, ...] = ()
    """Readings beside the sample, of test cases only: of another image, or of the same with its
    probabilities at the temperature that fits the validation cases."""
    pictures: int = 2
    """Test cases, from the first on, whose pictures are kept with the results; 0: no pixels of an
    image are."""

    def __post_init__(self) -> None:
        require(self.pictures >= 0, f"pictures={self.pictures} must not be negative")
        require(0 <= self.overlap < 1, f"overlap={self.overlap} must lie in [0, 1)")


ProbeControl = Literal["shuffled_image", "random_mask", "shuffled_mask"]


@dataclass(frozen=True)
class Probe:
    """How finely the timestep fingerprint is measured; diffusion only."""

    bins: int = 16
    """Strata in λ, and as many in t."""
    draws: int = 2
    """Noise draws per case and stratum; pairs of them are antithetic in the noise level."""
    controls: tuple[ProbeControl, ...] = ()
    """Measured beside ``image`` and ``dropped``, a network pass each."""

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
    test: Evaluation = field(default_factory=Evaluation)
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
        require(
            self.mode.denoises or self.train.control not in controls.MASK,
            f"train.control={self.train.control!r} needs a mode that sees a noisy mask, mode"
            f" {self.mode.name} does not (choices: none, shuffled_image, dropped_image)",
        )
        require(
            self.model.denoises or not self.mode.denoises,
            f"model {self.model.name} sees no noisy mask: mode {self.mode.name} must be feedforward"
            " or image_only",
        )
        if self.model.trains_itself:
            library_rules.check(self)
        if isinstance(self.mode, Diffusion):
            self._check_diffusion(self.mode)

    def _check_diffusion(self, mode: Diffusion) -> None:
        learned = isinstance(mode.sampler, DDPM) and mode.sampler.variance == "learned"
        require(
            not learned or mode.loss == "hybrid",
            "sampler.ddpm.variance='learned' needs a network that learns one: loss="
            f"{mode.loss!r} must be 'hybrid'",
        )
        require(
            self.probe.bins == 0 or mode.image_dropout > 0,
            f"probe.bins={self.probe.bins} must be 0 with image_dropout=0.0: a network that always"
            " saw its image is no unconditional denoiser",
        )
        require(
            mode.start != "auxiliary" or self.model.auxiliary,
            f"start='auxiliary' needs a model with an auxiliary output, {self.model.name} has none",
        )
        require(
            not (self.train.control in controls.MASK and mode.evidence),
            f"train.control={self.train.control!r} needs evidence=false: the evidence of another"
            " mask misleads",
        )

    @property
    def classes(self) -> int:
        """Classes of the task, background included."""
        return len(self.task.classes)

    @property
    def ports(self) -> Ports:
        """Channels of the network."""
        return self.mode.ports(self.task.channels, self.classes)

    def plain(self) -> dict[str, Any]:
        """JSON form with every default written out; :func:`parse` is its inverse."""
        return plain(self)

    def digest(self) -> str:
        """Its name everywhere: a hash of its content, its data and its formulas' versions."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        """Of the whole as JSON, put together from the texts of its fields."""
        values = {f.name: _Itself(getattr(self, f.name)) for f in fields(self)}
        parts = [part for value in values.values() for part in _parts(value)]
        versions = {f"{p.kind}/{p.name}": p.version for p in parts}
        inner = ",".join(f'"{name}":{_written(values[name])}' for name in sorted(values))
        whole = (
            f'{{"config":{{{inner}}},"data":{_json(content_hash(self.task))}'
            f',"version":{VERSION},"versions":{_json(versions)}}}'
        )
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


class _Itself:
    """A value that is no other's equal: 1, 1.0 and -0.0 are written differently."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value


@lru_cache(maxsize=4096)
def _written(value: _Itself) -> str:
    """Canonical JSON; the configs of a study share most of their parts."""
    return _json(identity(value.value))


@lru_cache(maxsize=4096)
def _parts(value: _Itself) -> tuple[Part, ...]:
    return tuple(parts_in(value.value))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def unsaid(spec: Mapping[str, Any], whole: Mapping[str, Any], at: str = "") -> list[str]:
    """Paths of ``whole`` that a plain form says nothing of, the outermost only.

    What :meth:`Config.plain` wrote leaves nothing out, so those are fields that are younger.

    >>> unsaid({"train": {"steps": 2}}, {"train": {"steps": 2, "batch": 4}, "seed": 0})
    ['train.batch', 'seed']
    """
    found: list[str] = []
    for name, value in whole.items():
        if name not in spec:
            found.append(f"{at}{name}")
        elif isinstance(value, Mapping) and isinstance(spec[name], Mapping):
            found += unsaid(spec[name], value, f"{at}{name}.")
    return found


def parse(spec: Mapping[str, object]) -> Config:
    """Build a Config from its plain form.

    Raises:
        ValueError: an unknown field or part, or a value outside its domain; names the path, the
            value, the rule and the choices.
    """
    return parse_dataclass(Config, spec, "config")
