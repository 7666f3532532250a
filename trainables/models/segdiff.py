"""SegDiff: a U-Net of the noisy mask, with the features of a dense image encoder added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainables.layers.rrdb import RRDBEncoder
from trainables.layers.unet import UNet, UNetModel
from trainables.models import Features, Network, Output, Ports
from trainables.part import require
from trainables.part_fields import later


@dataclass(frozen=True)
class SegDiff(UNetModel):
    """Amit et al. 2021 (arXiv 2112.00390); the defaults are the published network for MoNuSeg.

    The image encoder has ``dense_blocks`` residual-in-residual dense blocks of ``dense_features``
    channels at full resolution.
    """

    version: ClassVar[int | str] = 2
    published: ClassVar = Ports(image=3, mask=1, out=1)

    multipliers: tuple[int, ...] = (1, 1, 1, 2, 2, 4, 4)
    """Channels of each resolution level, as a multiple of ``channels``."""
    blocks: int = 3
    """Residual blocks per level."""
    attention: tuple[int, ...] = (16, 32)
    """Downsampling factors at which there is self-attention."""
    heads: int = 4
    """Heads of the self-attention."""
    timesteps: int = later(100)
    """The network sees the time t as (timesteps − 1) · t."""
    dense_blocks: int = 12
    """Residual-in-residual dense blocks of the image encoder."""
    dense_features: int = 64
    """Channels of these blocks."""
    dense_growth: int = 32
    """Channels that each of their convolutions adds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dense_blocks", "dense_features", "dense_growth"):
            require(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")

    def build(self, ports: Ports) -> Network:
        return SegDiffNetwork(self, ports)


class SegDiffNetwork(Network):
    """A U-Net whose image :meth:`features` are computed once per image."""

    def __init__(self, model: SegDiff, ports: Ports) -> None:
        super().__init__()
        self.encoder = RRDBEncoder(
            ports.image,
            model.channels,
            model.dense_blocks,
            model.dense_features,
            model.dense_growth,
        )
        self.unet = UNet(model, ports.mask, ports.out, timed=ports.mask > 0)

    def features(self, image_BCHW: Tensor) -> Features:
        return (self.encoder(image_BCHW),)

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        (h,) = self.features(image_BCHW) if features is None else features
        if self.unet.stem is not None:
            h = h + self.unet.stem(mask_BMHW)
        return Output(self.unet(h, self.unet.embed(t_B)))
