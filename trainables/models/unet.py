"""U-Net: the plain convolutional network, as wide as a number of parameters allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainables.layers.batchnorm import BatchNorm2d
from trainables.models import Features, Model, Network, Output, Ports
from trainables.part import require


@dataclass(frozen=True)
class UNet(Model):
    """Ronneberger et al. 2015 (arXiv 1505.04597), padded and with batch normalisation.

    It has ``levels`` of two 3×3 convolutions, each half as large and twice as wide as the one
    above, and no attention, residual connections or time input. The widths are the largest with at
    most ``parameters`` parameters, which allows a comparison with another network at equal size.
    """

    denoises: ClassVar = False

    parameters: int = 31_000_000
    """The largest number of parameters; the channels are as many as it allows."""
    levels: int = 5
    """Resolution levels."""

    def __post_init__(self) -> None:
        require(self.levels >= 2, f"levels={self.levels} must be at least 2")
        least = 9 * 4**self.levels
        require(
            self.parameters >= least,
            f"parameters={self.parameters} must be at least {least} with levels={self.levels}",
        )

    @property
    def stride(self) -> int:
        return 2 ** (self.levels - 1)

    def build(self, ports: Ports) -> Network:
        return UNetNetwork(widths(self.parameters, self.levels, ports), ports)


STEPS = 16
"""Steps of the deepest level's scale per channel of the first level."""


@lru_cache(maxsize=64)
def widths(parameters: int, levels: int, ports: Ports) -> tuple[int, ...]:
    """Return the largest widths of a network with at most so many parameters."""

    def at(step: int) -> tuple[int, ...]:
        return tuple(max(1, round(step * 2**k / STEPS)) for k in range(levels))

    low, high = 1, 2
    while counted(at(high), ports) <= parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if counted(at(middle), ports) <= parameters else (low, middle)
    return at(low)


def counted(widths: tuple[int, ...], ports: Ports) -> int:
    """Return the number of parameters of a network with these widths, without allocating any."""
    with torch.device("meta"):
        return sum(p.numel() for p in UNetNetwork(widths, ports).parameters())


class UNetNetwork(Network):
    """A U-Net whose input is the image."""

    def __init__(self, widths: tuple[int, ...], ports: Ports) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(
            [_twice(ports.image, widths[0]), *(_twice(a, b) for a, b in pairs)]
        )
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs])
        self.merge = nn.ModuleList([_twice(2 * a, a) for a, _ in pairs])
        self.out = nn.Conv2d(widths[0], ports.out, 1)

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        h = image_BCHW
        kept: list[Tensor] = []
        for level in self.down:
            h = level(h if not kept else nn.functional.max_pool2d(h, 2))
            kept.append(h)
        for up, merge, skip in reversed(list(zip(self.up, self.merge, kept, strict=False))):
            h = merge(torch.cat([skip, up(h)], 1))
        return Output(self.out(h))


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *_convolution(inputs, outputs),
        *_convolution(outputs, outputs),
    )


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, BatchNorm2d(outputs), nn.ReLU()
