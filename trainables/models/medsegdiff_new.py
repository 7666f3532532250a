"""MedSegDiff "new": features of a feed-forward U-Net are added to a diffusion U-Net's first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from trainables.layers.highway import Highway
from trainables.layers.unet import UNet, UNetModel
from trainables.models import Features, Network, Output, Ports
from trainables.part import require


@dataclass(frozen=True)
class MedSegDiffNew(UNetModel):
    """Wu et al. 2022 (arXiv 2211.00611), the default of its repository.

    Decoder maps of the highway, detached, are added to the first convolution: that of half the
    resolution twice, then that of a quarter. The finest map feeds the highway's head only. The
    highway learns only from ``auxiliary_weight`` times the mean squared error of its probabilities.
    """

    version: ClassVar[int | str] = 2
    published: ClassVar = Ports(image=3, mask=1, out=2)
    auxiliary: ClassVar[bool] = True

    auxiliary_weight: float = 10.0
    """Weight of the loss of the auxiliary output."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.multipliers) >= 4,
            f"multipliers={list(self.multipliers)} must have at least 4 levels, for the highway's"
            " three finest maps",
        )
        require(
            self.auxiliary_weight >= 0,
            f"auxiliary_weight={self.auxiliary_weight} must not be negative",
        )

    def build(self, ports: Ports) -> Network:
        return MedSegDiffNewNetwork(self, ports)


class MedSegDiffNewNetwork(Network):
    """A U-Net with a highway, whose :meth:`features` depend on the image only."""

    def __init__(self, model: MedSegDiffNew, ports: Ports) -> None:
        super().__init__()
        self.auxiliary_weight = model.auxiliary_weight
        self.masked = ports.mask > 0
        self.unet = UNet(model, ports.image + ports.mask, ports.out, timed=self.masked)
        # The maps at 1/2, 1/2 and 1/4 have w + w + 2w channels, as many as the first convolution.
        poolings = len(model.multipliers) - 1
        self.highway = Highway(ports.image, ports.classes, model.channels // 4, poolings)

    def features(self, image_BCHW: Tensor) -> Features:
        output = self.highway(image_BCHW)
        quarter, half = output.maps[-3:-1]
        middle = _enlarged(half, 2)
        return torch.cat([middle, middle, _enlarged(quarter, 4)], 1).detach(), output.logits

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        added, auxiliary = self.features(image_BCHW) if features is None else features
        seen = torch.cat([image_BCHW, mask_BMHW], 1) if self.masked else image_BCHW
        assert self.unet.stem is not None
        h = self.unet.stem(seen) + added
        return Output(self.unet(h, self.unet.embed(t_B)), auxiliary, self.auxiliary_weight)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(
        x, scale_factor=float(factor), mode="bilinear", align_corners=False
    )
