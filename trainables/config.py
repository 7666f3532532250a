"""Config: everything that decides the numbers of a run, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any, cast

from trainables import contracts, controls, library_rules
from trainables.datasets import Dataset
from trainables.decoding.cache import content_hash
from trainables.models import Model, Ports
from trainables.modes import Mode
from trainables.modes.deep_ensemble import DeepEnsemble
from trainables.modes.diffusion import Diffusion
from trainables.modes.feedforward import FeedForward
from trainables.parsing import parse_dataclass
from trainables.part import Part, identity, parts_in, plain, require
from trainables.part_fields import as_validated, reading
from trainables.runtime.seeding import generator
from trainables.samplers.ddpm import DDPM
from trainables.settings import Evaluation, Probe, Train

VERSION = 3
"""Increased when the loop or the evaluation changes the numbers of an unchanged config."""
SAME_VALIDATION = 2
"""The version of runs that version 3 did not change: they validate with their own reading."""

SHUFFLED_CASES = 4
"""The version of runs that show the image of another case: it is of another volume since then."""
ADDED_LOSS_OF_ENSEMBLES = 5
"""The version of deep ensembles with an added loss: their networks see it since then."""
CORRECTED = 6
"""The version of four kinds of run. Since then the last validation of an external library has the
test's own overlap, a probe has the training's control, probabilities are float32, and the networks
of an ensemble share their fraction of the images."""


def _validation(config: Config) -> Evaluation:
    return config.test.validation()


@dataclass(frozen=True)
class Config:
    """The config of one run, without workers, devices and paths, which change no number."""

    task: Dataset
    """The data set."""
    model: Model
    """The network."""
    mode: Mode
    """How the network is trained and how it predicts."""
    train: Train = field(default_factory=Train)
    """The training settings."""
    test: Evaluation = reading(default_factory=Evaluation, validation=_validation)
    """The settings of the evaluation on held-out data."""
    probe: Probe = reading(default_factory=Probe, validation=Probe(bins=0))
    """The settings of the timestep fingerprint."""
    seed: int = 0
    """The seed of the weights, the batches and the noise. A space sets it for each replicate."""

    def __post_init__(self) -> None:
        if not self.mode.denoises and self.train.noise != "host":
            # Without effect, so that one meaning has one identity.
            object.__setattr__(self, "train", replace(self.train, noise="host"))
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
        of_image = [c for c in self.test.controls if c != "temperature"]
        require(
            self.train.control not in controls.MASK or not of_image,
            f"test.controls={of_image} must be empty with train.control={self.train.control!r}: a"
            " reading has one control",
        )
        require(
            self.model.denoises or not self.mode.denoises,
            f"model {self.model.name} sees no noisy mask: mode {self.mode.name} must be feedforward"
            " or image_only",
        )
        if self.test.on is not None:
            self._check_external(self.test.on)
        if self.model.trains_itself:
            library_rules.check(self.model, self.mode, self.train, self.test)
        if isinstance(self.mode, Diffusion):
            self._check_diffusion(self.mode)

    def _check_external(self, on: Dataset) -> None:
        """Check that the network can read the data set of an external test."""
        for name in ("channels", "classes", "size"):
            given, trained = plain(getattr(on, name)), plain(getattr(self.task, name))
            require(
                given == trained,
                f"test.on: {on.title} has {name}={given}, the network is trained on"
                f" {self.task.title} with {name}={trained}",
            )

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
            max(self.probe.t_low, mode.t_low) < min(self.probe.t_high, mode.t_high),
            f"probe.t_low={self.probe.t_low}, probe.t_high={self.probe.t_high} must overlap the"
            f" times that are trained, {mode.t_low} to {mode.t_high}",
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
        require(
            not (self.train.control in controls.MASK and mode.info_noise is not None),
            f"train.control={self.train.control!r} needs info_noise=null: another mask's error says"
            " nothing about a noise level",
        )

    @property
    def tested(self) -> Dataset:
        """The data set whose cases are tested: the task, or that of an external test."""
        return self.task if self.test.on is None else self.test.on

    @property
    def classes(self) -> int:
        """Classes of the task, background included."""
        return len(self.task.classes)

    @property
    def ports(self) -> Ports:
        """Channels of the network."""
        return self.mode.ports(self.task.channels, self.classes)

    def plain(self) -> dict[str, Any]:
        """Return the JSON form with every default written out; :func:`parse` is its inverse."""
        return plain(self)

    def digest(self) -> str:
        """Return the identity of the run: a hash of the config, its data and its formulas."""
        return self._digest

    @cached_property
    def trainings(self) -> tuple[Config, ...]:
        """The configs of the networks that the run reads, each with the reading of validation.

        Runs whose trainings are equal have the same weights. A deep ensemble reads as many as it
        has networks, each of which is the network of a ``feedforward`` run.
        """
        if not isinstance(self.mode, DeepEnsemble):
            return (as_validated(self),)
        mode = FeedForward(**{f.name: getattr(self.mode, f.name) for f in fields(FeedForward)})
        first = as_validated(replace(self, mode=mode))
        seeds = (
            generator(self.seed, "network", number).initial_seed()
            for number in range(1, self.mode.runs)
        )
        train = first.train
        if train.fraction < 1 and train.fraction_seed is None:
            # All networks see the images of the first.
            train = replace(train, fraction_seed=self.seed)
        return (first, *(replace(first, seed=seed, train=train) for seed in seeds))

    @cached_property
    def training_digests(self) -> tuple[str, ...]:
        """The identity of each training: its weights are kept under this name."""
        return tuple(training._hash("training") for training in self.trainings)

    @property
    def version(self) -> int:
        """The version of the loop and the evaluation as far as they change this run's numbers."""
        if self._corrected:
            return CORRECTED
        if isinstance(self.mode, DeepEnsemble) and self.mode.added_loss is not None:
            return ADDED_LOSS_OF_ENSEMBLES
        shuffled = "shuffled_image" in (self.train.control, *self.test.controls)
        if shuffled and self.test.unit == "cases":
            return SHUFFLED_CASES
        validates_alike = self.test.unit == "tiles" and _json(
            identity(as_validated(self.mode))
        ) == _canonical(_ByIdentity(self.mode))
        return SAME_VALIDATION if validates_alike else VERSION

    @property
    def _corrected(self) -> bool:
        """Whether the run is of a kind that version 6 changed."""
        probed = self.mode.denoises and self.probe.bins > 0
        tiled = self.test.unit == "cases" and self.test.overlap > 0
        return (
            self.train.precision == "bfloat16"
            or (self.model.trains_itself and tiled)
            or (self.train.control != "none" and probed)
            or (self.train.fraction < 1 and self.mode.runs > 1)
        )

    @cached_property
    def _digest(self) -> str:
        return self._hash("")

    def _hash(self, level: str) -> str:
        """Hash the canonical JSON, which is joined from the cached texts of the fields."""
        values = {f.name: _ByIdentity(getattr(self, f.name)) for f in fields(self)}
        parts = [part for value in values.values() for part in _parts(value)]
        versions = {f"{p.kind}/{p.name}": p.version for p in parts}
        inner = ",".join(f'"{name}":{_canonical(values[name])}' for name in sorted(values))
        external = self.test.on
        tested = "" if external is None else f',"test_data":{_json(content_hash(external))}'
        whole = (
            f'{{"config":{{{inner}}},"data":{_json(content_hash(self.task))}{tested}'
            f',"version":{self.version},"versions":{_json(versions)}}}{level}'
        )
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


class _ByIdentity:
    """A value that equals only itself, because 1, 1.0 and -0.0 have different JSON."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.value is other.value


@lru_cache(maxsize=4096)
def _canonical(value: _ByIdentity) -> str:
    """Return the canonical JSON of a value; the configs of a study share most of their parts."""
    return _json(identity(value.value))


@lru_cache(maxsize=4096)
def _parts(value: _ByIdentity) -> tuple[Part, ...]:
    return tuple(parts_in(value.value))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def absent_paths(spec: Mapping[str, Any], whole: Mapping[str, Any], at: str = "") -> list[str]:
    """Return the outermost paths of ``whole`` that are absent from a plain form.

    :meth:`Config.plain` writes every field, so absent ones are newer than the plain form.

    >>> absent_paths({"train": {"steps": 2}}, {"train": {"steps": 2, "batch": 4}, "seed": 0})
    ['train.batch', 'seed']
    """
    missing: list[str] = []
    for name, value in whole.items():
        if name not in spec:
            missing.append(f"{at}{name}")
        elif isinstance(value, Mapping) and isinstance(spec[name], Mapping):
            inner = cast("Mapping[str, Any]", value)
            missing += absent_paths(spec[name], inner, f"{at}{name}.")
    return missing


def parse(spec: Mapping[str, object]) -> Config:
    """Build a Config from its plain form.

    Raises:
        ValueError: an unknown field or part, or a value outside its domain; names the path, the
            value, the rule and the choices.
    """
    config = parse_dataclass(Config, spec, "config")
    contracts.check_users_parts(config)
    return config
