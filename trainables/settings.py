"""The settings of training, evaluation and probing in a config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from trainables.augment import Augment
from trainables.controls import Control
from trainables.datasets import Dataset
from trainables.part import require
from trainables.part_fields import EARLIER, later
from trainables.schemas import SCHEMA_VERSION


@dataclass(frozen=True)
class Train:
    """The training settings. Batches are global: they do not depend on the number of workers."""

    steps: int = 200
    """Optimiser steps."""
    batch: int = 16
    """Crops per step, over all workers."""
    accumulate: int = 1
    """Microbatches into which each worker's share of a batch is divided."""
    learning_rate: float = 1e-3
    """The peak learning rate of AdamW."""
    warmup: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    decay: Literal["none", "linear"] = "none"
    """Whether the learning rate then falls linearly to 0 at the last step."""
    weight_decay: float = 0.0
    """The weight decay of AdamW."""
    ema: float = 0.99
    """Decay of the averaged weights: min(ema, (1 + step)/(10 + step))."""
    clip: float = 1.0
    """Largest gradient norm."""
    validate_every: int = 50
    """Steps between validations; each validation also writes a checkpoint."""
    patience: int = 0
    """Validations without a better score after which training stops; 0: never."""
    fraction: float = 1.0
    """Share of the training images that is used, rounded up; a smaller share is a subset of a
    larger one with the same seed. All training images are used for normalisation."""
    fraction_seed: int | None = later(None)
    """The seed that selects the share; None: the seed of the run. The networks of a deep ensemble
    have that of the ensemble, so that all see the same images."""
    augment: Augment = field(default_factory=Augment)
    """Random changes of the training tiles."""
    foreground: float = 0.0
    """Share of the crops that are centred near a foreground pixel, with equal frequency per class;
    useful where most random crops contain no foreground."""
    control: Control = "none"
    """A control that applies in training, at test and to the probe. A network trained with the
    noisy mask of another case samples from its own mask, which it has learnt to ignore."""
    annotator: Literal["random", "vote"] = later("random")
    """The mask of a data set with several annotators that is trained on: that of an annotator who
    is drawn for each crop of each step, so that a diffusion model learns the distribution of their
    masks, or their majority ``vote``."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """``tf32`` rounds the factors of products on a GPU to 10 bits, and is ``float32`` on a CPU;
    ``bfloat16`` uses autocast. Weights and optimiser stay in float32."""
    compile: bool = False
    """Whether the network is trained and evaluated with torch.compile."""
    noise: Literal["host", "device"] = later("host")
    """Where the Gaussian noise of a training step is drawn: on the ``host``, for the whole batch by
    every worker, or on the ``device``, by each worker for its share. The draws differ. Stored as
    ``host`` in modes without noise, where it has no effect."""

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
        """Return the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        fall = 1 - step / self.steps if self.decay == "linear" else 1.0
        return self.learning_rate * min(rise, fall)


Reading = Literal["shuffled_image", "dropped_image", "temperature"]


@dataclass(frozen=True)
class Evaluation:
    """The settings of the evaluation on held-out data."""

    unit: Literal["cases", "images", "tiles"] = field(default="cases", metadata={EARLIER: "tiles"})
    """The held-out case: ``cases`` are whole volumes, joined from their slices, and whole images
    that are no slices, at native size; ``images`` are whole images and slices; ``tiles`` have the
    training size and lie side by side, so that a remainder at the right and lower side is left out.
    Validation during training reads ``cases`` with windows that hardly overlap, else tiles, so this
    choice may select other weights."""
    overlap: float = 0.5
    """Share of its side that a window has in common with the next one over a larger image."""
    controls: tuple[Reading, ...] = ()
    """Further readings of the test cases: under a control of the image, or with probabilities at
    the temperature that is fitted to the validation cases."""
    pictures: int = 2
    """The number of test cases whose pictures are stored with the results; 0 stores no pixels."""
    on: Dataset | None = later(None)
    """The data set of an external test; None: the test split of the task itself."""
    cases: Literal["all", "test"] = later("all")
    """The cases of an external test: the whole data set, or its test split."""
    schema: int = later(0)
    """The version of the result tables for which the cases are measured again; 0: any version."""

    def __post_init__(self) -> None:
        require(
            self.cases == "all" or self.on is not None,
            f"cases={self.cases!r} needs on=, the data set of an external test",
        )
        _require_distinct(self.controls)
        require(
            0 <= self.schema <= SCHEMA_VERSION,
            f"schema={self.schema} must lie in 0..{SCHEMA_VERSION}",
        )
        require(self.pictures >= 0, f"pictures={self.pictures} must not be negative")
        require(0 <= self.overlap < 1, f"overlap={self.overlap} must lie in [0, 1)")

    def validation(self) -> Evaluation:
        """Return the settings of validation during training."""
        if self.unit == "cases":
            return Evaluation(overlap=0.0, pictures=0)
        return Evaluation(unit="tiles", pictures=0)


ProbeControl = Literal["shuffled_image", "random_mask", "shuffled_mask"]


@dataclass(frozen=True)
class Probe:
    """The settings of the timestep fingerprint; they matter for diffusion only."""

    bins: int = 16
    """The number of strata in λ, and in t."""
    draws: int = 2
    """Noise draws per case and stratum; pairs of them are antithetic in the noise level."""
    controls: tuple[ProbeControl, ...] = ()
    """Controls that are measured in addition to ``image`` and ``dropped``, one pass each."""
    t_low: float = later(0.0)
    """The lowest time of the strata, within the times that the mode trains on."""
    t_high: float = later(1.0)
    """The highest time of the strata, within the times that the mode trains on."""

    def __post_init__(self) -> None:
        require(
            0 <= self.t_low < self.t_high <= 1,
            f"t_low={self.t_low}, t_high={self.t_high} must satisfy 0 <= t_low < t_high <= 1",
        )
        require(self.bins >= 0, f"bins={self.bins} must not be negative")
        _require_distinct(self.controls)
        require(self.draws >= 1, f"draws={self.draws} must be at least 1")


def _require_distinct(names: Sequence[str]) -> None:
    require(len(set(names)) == len(names), f"controls={list(names)} must name each control once")
