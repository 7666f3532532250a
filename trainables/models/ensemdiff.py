"""EnsemDiff: the guided-diffusion U-Net with the image concatenated before the noisy mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainables.layers.unet import UNet, UNetModel
from trainables.models import Features, Network, Output, Ports


@dataclass(frozen=True)
class EnsemDiff(UNetModel):
    """Wolleb et al. 2022 (arXiv 2112.03145); the defaults are the published network."""

    published: ClassVar = Ports(image=4, mask=1, out=2)

    def build(self, ports: Ports) -> Network:
        return EnsemDiffNetwork(self, ports)


class EnsemDiffNetwork(Network):
    """One U-Net whose input is the image and the mask."""

    def __init__(self, model: EnsemDiff, ports: Ports) -> None:
        super().__init__()
        self.unet = UNet(model, ports.image + ports.mask, ports.out, timed=ports.mask > 0)
        self.masked = ports.mask > 0

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        seen = torch.cat([image_BCHW, mask_BMHW], 1) if self.masked else image_BCHW
        assert self.unet.stem is not None
        return Output(self.unet(self.unet.stem(seen), self.unet.embed(t_B)))
