"""MedSegDiff v1: a feed-forward U-Net, gated in frequency by the diffusion U-Net's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from trainables.layers.highway import FFParser, Highway
from trainables.layers.unet import UNet, UNetModel
from trainables.models import Features, Network, Output, Ports
from trainables.part import require

GATES = 4


@dataclass(frozen=True)
class MedSegDiffV1(UNetModel):
    """Wu et al. 2022 (arXiv 2211.00611), first version of its repository.

    ``map_size`` is the image size of the stored frequency filters; they are interpolated for other
    sizes. ``bottleneck`` selects the projection of the highway's deepest features to the U-Net's
    channels: a random one that is saved with the weights (``fixed``, with as many parameters as
    published; the original draws a new one at every pass) or a ``learned`` one.
    ``auxiliary_weight`` multiplies the mean squared error of the highway's probabilities.
    """

    version: ClassVar[int | str] = 2
    published: ClassVar = Ports(image=3, mask=1, out=2)
    auxiliary: ClassVar[bool] = True

    map_size: int = 256
    """Side of the images that the FF-Parser's spectral maps are stored for, in pixels."""
    bottleneck: Literal["fixed", "learned"] = "fixed"
    """Whether the 1 × 1 convolution of the bottleneck keeps its initial weights or learns."""
    auxiliary_weight: float = 10.0
    """Weight of the loss of the auxiliary output."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.multipliers) >= 2,
            f"multipliers={list(self.multipliers)} must have at least 2 levels: the highway pools",
        )
        gates = min(GATES, len(self.multipliers) - 1)
        require(
            self.map_size > 0 and self.map_size % 2**gates == 0,
            f"map_size={self.map_size} must be a positive multiple of {2**gates}",
        )
        require(
            self.auxiliary_weight >= 0,
            f"auxiliary_weight={self.auxiliary_weight} must not be negative",
        )

    def build(self, ports: Ports) -> Network:
        return MedSegDiffV1Network(self, ports)


class MedSegDiffV1Network(Network):
    """A U-Net with a gated highway; the gates depend on the noisy mask, so it has no features."""

    def __init__(self, model: MedSegDiffV1, ports: Ports) -> None:
        super().__init__()
        self.auxiliary_weight = model.auxiliary_weight
        self.masked = ports.mask > 0
        self.unet = UNet(model, ports.image + ports.mask, ports.out, timed=self.masked)
        poolings, widths = len(model.multipliers) - 1, model.widths
        self.highway = Highway(ports.image, ports.classes, model.channels // 4, poolings)
        # Down-sampling keeps the channels of its level: pooling d has those of level d.
        self.gates = nn.ModuleList(
            FFParser(widths[d], self.highway.widths[d], model.map_size >> (d + 1))
            for d in range(min(GATES, poolings))
        )
        self.projection = nn.Conv2d(self.highway.widths[-1], widths[-1], 1)
        if model.bottleneck == "fixed":
            _freeze(self.projection)

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        time = self.unet.embed(t_B)
        seen = torch.cat([image_BCHW, mask_BMHW], 1) if self.masked else image_BCHW
        assert self.unet.stem is not None
        skips = self.unet.encode(self.unet.stem(seen), time)
        pooled = [skips[i] for i in self.unet.pooled]
        gates = [gate(h) for gate, h in zip(self.gates, pooled, strict=False)]
        highway = self.highway(image_BCHW, gates)
        h = skips[-1] + self.projection(highway.bottleneck)
        return Output(self.unet.decode(h, skips, time), highway.logits, self.auxiliary_weight)


def _freeze(layer: nn.Module) -> None:
    """Convert a layer's parameters to buffers, which are saved with the weights but not trained."""
    for name, parameter in list(layer.named_parameters(recurse=False)):
        delattr(layer, name)
        layer.register_buffer(name, parameter.detach())
