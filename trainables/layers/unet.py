"""The U-Net of guided diffusion, in parts that architectures combine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.interfaces.model import Model
from trainables.part import require
from trainables.part_fields import later


@dataclass(frozen=True)
class UNetModel(Model):
    """The numbers of a U-Net (Dhariwal & Nichol 2021, arXiv 2105.05233).

    ``attention`` lists the down-sampling factors that have self-attention, in addition to the
    middle, which always has it. The network sees a time t in [0, 1] as i = (``timesteps`` − 1)·t,
    the step 0 to ``timesteps`` − 1 of a discrete process, whatever the schedule.
    """

    channels: int = 128
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    """Channels of each resolution level, as a multiple of ``channels``."""
    blocks: int = 2
    """Residual blocks per level."""
    attention: tuple[int, ...] = (16,)
    """Downsampling factors at which there is self-attention."""
    heads: int = 1
    """Heads of the self-attention."""
    timesteps: int = later(1000)
    """The network sees the time t as (timesteps − 1) · t."""

    def __post_init__(self) -> None:
        require(
            self.channels > 0 and self.channels % 4 == 0,
            f"channels={self.channels} must be a positive multiple of 4",
        )
        require(
            len(self.multipliers) > 0 and min(self.multipliers) > 0,
            f"multipliers={list(self.multipliers)} must be positive, one per level",
        )
        require(self.blocks > 0, f"blocks={self.blocks} must be positive")
        require(
            self.heads > 0 and self.channels % self.heads == 0,
            f"heads={self.heads} must divide channels={self.channels}",
        )
        require(self.timesteps >= 2, f"timesteps={self.timesteps} must be at least 2")

    @property
    def stride(self) -> int:
        return 2 ** (len(self.multipliers) - 1)

    @property
    def widths(self) -> list[int]:
        """Channels per level, from full resolution down."""
        return [self.channels * m for m in self.multipliers]


class UNet(nn.Module):
    """Encoder, middle, decoder with a skip connection from every encoder block.

    With ``inputs`` = 0 it has no first convolution; with ``timed`` = False no time branch.
    """

    def __init__(self, model: UNetModel, inputs: int, outputs: int, timed: bool) -> None:
        super().__init__()
        self.width = model.channels
        self.last_step = model.timesteps - 1
        time_width = 4 * model.channels if timed else 0
        self.time = (
            nn.Sequential(
                nn.Linear(model.channels, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
            )
            if timed
            else None
        )

        def level(inputs: int, outputs: int, factor: int) -> nn.ModuleList:
            layers: list[nn.Module] = [ResBlock(inputs, outputs, time_width)]
            if factor in model.attention:
                layers.append(Attention(outputs, model.heads))
            return nn.ModuleList(layers)

        widths = model.widths
        channels, factor = widths[0], 1
        self.stem = nn.Conv2d(inputs, channels, 3, padding=1) if inputs else None
        self.down, skips = nn.ModuleList(), [channels]
        self.pooled: list[int] = []
        """The index of each down-sampling's output in the list of skips."""
        for depth, width in enumerate(widths):
            for _ in range(model.blocks):
                self.down.append(level(channels, width, factor))
                channels = width
                skips.append(channels)
            if depth < len(widths) - 1:
                self.down.append(
                    nn.ModuleList([nn.Conv2d(channels, channels, 3, stride=2, padding=1)])
                )
                self.pooled.append(len(skips))
                skips.append(channels)
                factor *= 2
        self.middle = nn.ModuleList(
            [
                ResBlock(channels, channels, time_width),
                Attention(channels, model.heads),
                ResBlock(channels, channels, time_width),
            ]
        )
        self.up = nn.ModuleList()
        for depth, width in reversed(list(enumerate(widths))):
            for block in range(model.blocks + 1):
                layers = level(channels + skips.pop(), width, factor)
                channels = width
                if depth > 0 and block == model.blocks:
                    layers.append(Upsample(channels))
                    factor //= 2
                self.up.append(layers)
        self.head = nn.Sequential(
            group_norm(channels), nn.SiLU(), zeroed(nn.Conv2d(channels, outputs, 3, padding=1))
        )

    def embed(self, t_B: Tensor) -> Tensor | None:
        """Embed the time in [0, 1] for the residual blocks: [B, 4 · channels]."""
        if self.time is None:
            return None
        return self.time(sinusoid(self.last_step * t_B.float(), self.width))

    def encode(self, h: Tensor, time: Tensor | None) -> list[Tensor]:
        """Return the features for the decoder, from the stem's output to the deepest."""
        skips = [h]
        for layers in self.down:
            skips.append(run(cast("nn.ModuleList", layers), skips[-1], time))
        return skips

    def decode(self, h: Tensor, skips: list[Tensor], time: Tensor | None) -> Tensor:
        """Decode the deepest features into the output, float32 [B, outputs, H, W]."""
        h, skips = run(self.middle, h, time), list(skips)
        for layers in self.up:
            h = run(cast("nn.ModuleList", layers), torch.cat([h, skips.pop()], 1), time)
        return self.head(h).float()

    def forward(self, h: Tensor, time: Tensor | None) -> Tensor:
        """Encode and decode the output of the stem."""
        skips = self.encode(h, time)
        return self.decode(skips[-1], skips, time)


def run(layers: Iterable[nn.Module], h: Tensor, time: Tensor | None) -> Tensor:
    """Apply layers in turn; residual blocks receive the time embedding."""
    for layer in layers:
        h = layer(h, time) if isinstance(layer, ResBlock) else layer(h)
    return h


class ResBlock(nn.Module):
    """Two convolutions and a shortcut; the time embedding is added after the first convolution."""

    def __init__(self, inputs: int, outputs: int, time_width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            group_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time_width, outputs)) if time_width else None
        self.second = nn.Sequential(
            group_norm(outputs), nn.SiLU(), zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor | None) -> Tensor:
        h = self.first(x)
        if self.time is not None:
            h = h + self.time(time)[:, :, None, None]
        return self.shortcut(x) + self.second(h)


class Attention(nn.Module):
    """Self-attention over the pixels of a feature map, with a residual connection."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(
            batch, 3, self.heads, channels // self.heads, height * width
        )
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        h = functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).reshape(batch, channels, height, width))


class Upsample(nn.Module):
    """Nearest-neighbour doubling and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a layer with the published 32 groups, fewer where a group has under four channels."""
    groups = min(32, channels // 4)
    return nn.GroupNorm(next(g for g in range(groups, 0, -1) if channels % g == 0), channels)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Set a layer to zero, so that its residual block starts as the identity."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def sinusoid(i_B: Tensor, width: int) -> Tensor:
    """Return cosines and sines of the step i, periods 2π to 10,000·2π: [B, width].

    Ho et al. 2020 (arXiv 2006.11239).
    """
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=i_B.device) / half)
    angles = i_B[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)
