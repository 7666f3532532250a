"""The settings of diffusion: what is trained, how masks are sampled, and what fits together."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Literal

from trainables import masks
from trainables.diffusion import Target
from trainables.encodings import Encoding
from trainables.encodings.onehot import OneHot
from trainables.info_noise import InfoNoise
from trainables.interfaces.mode import SamplingMode
from trainables.losses import Loss
from trainables.models import Ports
from trainables.part import require
from trainables.part_fields import later, reading
from trainables.samplers import Sampler
from trainables.samplers.ddim import DDIM
from trainables.schedules import Schedule
from trainables.schedules.linear import Linear
from trainables.weights import Weight
from trainables.weights.none import Unweighted

VALIDATION = DDIM(steps=4)
"""The sampler of validation during training, whichever sampler reads the trained network."""


def _validate_evidence(settings: DiffusionSettings) -> bool:
    return settings.validate_evidence


@dataclass(frozen=True)
class DiffusionSettings(SamplingMode, abc.ABC):
    """The fields of :class:`trainables.modes.diffusion.Diffusion`, whose text explains them.

    Raises:
        ValueError: a value is out of range, or two of them exclude each other.
    """

    schedule: Schedule = field(default_factory=Linear)
    """The noise schedule."""
    t_low: float = 0.0
    """The lowest time that is trained and sampled."""
    t_high: float = 1.0
    """The highest time that is trained and sampled."""
    encoding: Encoding = field(default_factory=OneHot)
    """How classes become the channels that are noised."""
    target: Target = "x0"
    """What the network predicts."""
    loss: Literal["cross_entropy", "mse", "hybrid"] = "cross_entropy"
    """``cross_entropy`` of mask logits (the target must be x0), ``mse`` of the target, or
    ``hybrid``, which adds the variational bound."""
    weight: Weight = field(default_factory=Unweighted)
    """Weight of each noise level in the loss."""
    dice_weight: float = 0.0
    """Weight of (1 − soft Dice) of the estimated mask."""
    vlb_weight: float = 1.0
    """Weight of the variational bound in ``hybrid``."""
    timesteps: int = 1000
    """Steps of the process whose bound ``hybrid`` adds."""
    evidence: bool = True
    """Whether the log-odds of the pixel's own noisy value are added to the logits."""
    clip: bool = True
    """Whether estimates of x0 are clamped to the range of an encoded mask."""
    image_dropout: float = 0.1
    """Share of cases trained without their image; fingerprints need it above 0."""
    feedforward_share: float = 0.0
    """Share of cases trained as the feed-forward twin."""
    sampler: Sampler = reading(default_factory=DDIM, validation=VALIDATION)
    """How masks are sampled."""
    members: int = reading(1)
    """Samples per image; their mean is the prediction."""
    start: Literal["noise", "one_step", "feedforward", "auxiliary"] = reading("noise")
    """Where sampling starts: at noise, or at a guess that is noised to ``t_start``."""
    t_start: float = reading(1.0)
    """The time at which sampling from a guess starts."""
    sample_evidence: bool = reading(False, validation=_validate_evidence, before=True)
    """Whether ``evidence`` is added in sampling too; stored as true where it has no effect."""
    added_loss: Loss | None = later(None)
    """A further term of the loss of the estimated mask, such as ``l1_ace``."""
    info_noise: InfoNoise | None = later(None)
    """Adapts the density of training times to the information of the mask; null: even in t."""
    validate_evidence: bool = later(False, before=True)
    """Whether validation samples with ``evidence``; stored as true where it has no effect."""

    def __post_init__(self) -> None:
        if not self.evidence or self.loss != "cross_entropy":
            # Without effect, so that one meaning has one identity.
            object.__setattr__(self, "sample_evidence", True)
            object.__setattr__(self, "validate_evidence", True)
        require(
            0 <= self.t_low < self.t_high <= 1,
            f"t_low={self.t_low}, t_high={self.t_high} must satisfy 0 <= t_low < t_high <= 1",
        )
        require(self.members >= 1, f"members={self.members} must be at least 1")
        require(self.dice_weight >= 0, f"dice_weight={self.dice_weight} must not be negative")
        require(self.vlb_weight >= 0, f"vlb_weight={self.vlb_weight} must not be negative")
        require(self.timesteps >= 2, f"timesteps={self.timesteps} must be at least 2")
        require(
            0 <= self.image_dropout < 1, f"image_dropout={self.image_dropout} must lie in [0, 1)"
        )
        require(
            0 <= self.feedforward_share < 1,
            f"feedforward_share={self.feedforward_share} must lie in [0, 1)",
        )
        require(
            self.loss != "cross_entropy" or self.target == "x0",
            "loss='cross_entropy' uses the head as mask logits, so target="
            f"{self.target!r} must be 'x0'",
        )
        require(
            self.loss != "cross_entropy" or self.encoding.pixelwise,
            f"loss='cross_entropy' needs an encoding of each pixel by bits, not"
            f" {self.encoding.name!r} (choices of loss: mse, hybrid)",
        )
        require(
            self.feedforward_share == 0 or self.loss == "cross_entropy",
            f"feedforward_share={self.feedforward_share} needs loss='cross_entropy', not"
            f" {self.loss!r}: the head of the twin gives mask logits",
        )
        require(
            self.start != "one_step" or self.target != "eps",
            "start='one_step' estimates x0 from pure noise, which target='eps' does not allow"
            " (choices of target: x0, v, flow)",
        )
        require(
            self.start != "feedforward" or self.feedforward_share > 0,
            "start='feedforward' needs a network that is also trained as the twin:"
            " feedforward_share=0.0 must be positive",
        )
        self.sampler.check_range(self.schedule, min(self.t_start, self.t_high), self.t_low)
        require(self.t_low < self.t_start <= 1, f"t_start={self.t_start} must lie in (t_low, 1]")
        require(
            self.start != "noise" or self.t_start == 1,
            f"t_start={self.t_start} must be 1 with start='noise': below t_high there is a mask in"
            " the noise (choices of start: one_step, feedforward, auxiliary)",
        )

    @property
    def schedule_name(self) -> str:
        return self.schedule.name

    @property
    def passes(self) -> int:
        first = self.start in ("one_step", "auxiliary")
        return self.members * (self.sampler.passes + first) + (self.start == "feedforward")

    @property
    def ensemble(self) -> int:
        return self.members

    def ports(self, image_channels: int, classes: int) -> Ports:
        channels = self.encoding.channels(classes)
        outputs = 2 * channels if self.loss == "hybrid" else channels
        return Ports(image_channels, channels, outputs, masks.channels(classes))
