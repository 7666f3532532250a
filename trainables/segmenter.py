"""Segmentation without noise: one pass, or one pass per view of the image."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables import masks
from trainables.augment import turned, unturned
from trainables.controls import Control
from trainables.interfaces.mode import Batch, Mode, Prediction
from trainables.interfaces.network import Ensemble, Network, Output, Ports
from trainables.losses import Loss
from trainables.part import require
from trainables.part_fields import later, reading

VIEWS = (0, 4, 2, 6, 1, 3, 5, 7)
"""Symmetries of the square in the order of the members: the first 2, 4 and 8 form groups."""


@dataclass(frozen=True)
class Segmenter(Mode):
    """Class logits from a pass without a noisy mask.

    The loss is cross-entropy or, with ``mse``, the squared error of 2m − 1 that an x0-diffusion
    network is trained on; ``dice_weight`` × (1 − soft Dice) is added.

    Each of ``members`` sees the image under another of the eight symmetries of the square (the
    identity, the mirror image, both upside down, then the quarter turns), and its prediction is
    turned back. The mean of this test-time ensemble is the sample, so that the twin of a diffusion
    ensemble can make as many passes.
    """

    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    """``cross_entropy``, or the squared error of an x0-diffusion network (``mse``)."""
    dice_weight: float = 1.0
    """Weight of (1 − soft Dice)."""
    members: int = reading(1)
    """Symmetries of the square that the image is seen in; their mean is the prediction."""
    added_loss: Loss | None = later(None)
    """A further term of the loss, such as ``l1_ace``."""

    def __post_init__(self) -> None:
        require(self.dice_weight >= 0, f"dice_weight={self.dice_weight} must not be negative")
        require(1 <= self.members <= len(VIEWS), f"members={self.members} must lie in 1..8")

    @abc.abstractmethod
    def mask_channels(self, classes: int) -> int:
        """Return the number of channels of the mask input, which is zero."""

    @property
    def passes(self) -> int:
        return self.members * self.runs

    @property
    def ensemble(self) -> int:
        return self.members * self.runs

    def ports(self, image_channels: int, classes: int) -> Ports:
        channels = masks.channels(classes)
        return Ports(image_channels, self.mask_channels(classes), channels, channels)

    def losses(self, network: Network, batch: Batch, classes: int, control: Control) -> Tensor:
        output = blind_pass(network, batch.images_BCHW, self.mask_channels(classes))
        labels = batch.labels_BHW
        truth = masks.to_channels(labels, classes)
        if self.loss == "mse":
            error = (output.main - (2 * truth - 1)).square()
        else:
            error = masks.cross_entropy(output.main, truth)
        loss = masks.mean_counted(error, labels)
        if self.dice_weight > 0:
            p = self._probabilities(output)
            loss = loss + self.dice_weight * masks.soft_dice_loss(p, truth, labels)
        if self.added_loss is not None:
            value = self.added_loss.value(self._probabilities(output), truth, labels)
            loss = loss + self.added_loss.weight * value
        return loss + auxiliary_loss(output, truth, labels)

    def predict(
        self,
        network: Network,
        images_BCHW: Tensor,
        classes: int,
        seeds: Sequence[int],
        control: Control,
    ) -> Prediction:
        """Predict all views of all cases in one batch per network; no draw is random."""
        each = network.networks if isinstance(network, Ensemble) else [network]
        predictions = [self._views(one, images_BCHW, classes) for one in each]
        sides = [p.auxiliary for p in predictions if p.auxiliary is not None]
        members = torch.cat([p.members for p in predictions], 1)
        return Prediction(members, torch.stack(sides).mean(0) if sides else None)

    def _views(self, network: Network, images_BCHW: Tensor, classes: int) -> Prediction:
        views = VIEWS[: self.members]
        images = torch.cat([turned(images_BCHW, view) for view in views])
        output = blind_pass(network, images, self.mask_channels(classes))

        def per_case(p: Tensor) -> Tensor:
            back = zip(p.chunk(self.members), views, strict=True)
            return torch.stack([unturned(part, view) for part, view in back], 1)

        side = auxiliary(output)
        members = per_case(self._probabilities(output))
        return Prediction(members, None if side is None else per_case(side).mean(1))

    def _probabilities(self, output: Output) -> Tensor:
        if self.loss == "cross_entropy":
            return masks.probabilities(output.main)
        return masks.normalised(((output.main.float() + 1) / 2).clamp(0, 1))


def blind_pass(network: Network, images_BCHW: Tensor, mask_channels: int) -> Output:
    """Make one pass with a mask of zeros and t = 0, which contain no information on the mask."""
    batch, _, height, width = images_BCHW.shape
    zeros = torch.zeros(batch, mask_channels, height, width, device=images_BCHW.device)
    return network(zeros, torch.zeros(batch, device=images_BCHW.device), images_BCHW)


def auxiliary(output: Output) -> Tensor | None:
    """Return the class probabilities of the auxiliary output, None without one."""
    return None if output.auxiliary is None else masks.probabilities(output.auxiliary)


def auxiliary_loss(output: Output, truth_BKHW: Tensor, labels_BHW: Tensor) -> Tensor | float:
    """Return the weighted squared error of the auxiliary probabilities, [B]; 0 without them."""
    p = auxiliary(output)
    if p is None:
        return 0.0
    return output.auxiliary_weight * masks.mean_counted((p - truth_BKHW).square(), labels_BHW)
