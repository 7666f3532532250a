"""RRDB: the residual-in-residual dense image encoder of SegDiff."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

RESIDUAL = 0.2


class RRDBEncoder(nn.Module):
    """Wang et al. 2018 (ESRGAN, arXiv 1809.00219), without up-sampling: full resolution in and out.

    It depends on the image only, so a sampler computes it once per image, not once per step.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, features: int, growth: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, features, 3, padding=1)
        self.trunk = nn.Sequential(
            *(RRDB(features, growth) for _ in range(blocks)),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.fine = nn.Conv2d(features, features, 3, padding=1)
        self.last = nn.Conv2d(features, outputs, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        shallow = self.first(image_BCHW)
        deep = shallow + self.trunk(shallow)
        return self.last(leaky(self.fine(deep)))


class RRDB(nn.Module):
    """Three dense blocks with a residual connection."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(features, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL * self.blocks(x)


class DenseBlock(nn.Module):
    """Five convolutions; the input of each is all maps before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(features + i * growth, growth if i < 4 else features, 3, padding=1)
            for i in range(5)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for conv in self.convs[:-1]:
            maps.append(leaky(conv(torch.cat(maps, 1))))
        return x + RESIDUAL * self.convs[-1](torch.cat(maps, 1))


def leaky(x: Tensor) -> Tensor:
    """Apply the leaky ReLU with ESRGAN's slope."""
    return functional.leaky_relu(x, 0.2)
