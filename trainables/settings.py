"""The settings of training, evaluation and probing in a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trainables.augment import Augment
from trainables.controls import Control
from trainables.part import require


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
