"""Reference code for the published diffusion networks, written from their description.

Layers are created in the published order, so that the tensors of one network can be loaded into
another by their order. Every layer is torch's own, and time is the integer step of the process.
Normalisation has 32 groups, so channels must be multiples of 128 for a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def step_embedding(i: Tensor, width: int) -> Tensor:
    """Half cosines, half sines, of frequencies 1 down to almost 1/10000."""
    frequencies = [10_000 ** (-k / (width // 2)) for k in range(width // 2)]
    angles = torch.stack([i.float() * f for f in frequencies], 1)
    return torch.cat([torch.cos(angles), torch.sin(angles)], 1)


class Residual(nn.Module):
    def __init__(self, a: int, b: int, time: int) -> None:
        super().__init__()
        self.n1, self.c1 = nn.GroupNorm(32, a), nn.Conv2d(a, b, 3, padding=1)
        self.time = nn.Linear(time, b)
        self.n2, self.c2 = nn.GroupNorm(32, b), nn.Conv2d(b, b, 3, padding=1)
        self.skip = nn.Conv2d(a, b, 1) if a != b else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.c1(F.silu(self.n1(x)))
        h = h + self.time(F.silu(time)).unsqueeze(-1).unsqueeze(-1)
        h = self.c2(F.silu(self.n2(h)))
        return h + (x if self.skip is None else self.skip(x))


class SelfAttention(nn.Module):
    """Scaled dot products, written out head by head.

    The rows of ``qkv`` are all queries, all keys and all values; with ``by_head``, as in the
    published checkpoints, the query, key and value of the first head, then of the next.
    """

    by_head = False

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(32, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        rows = self.qkv(self.norm(x)).flatten(2)
        if self.by_head:
            triples = [head.chunk(3, 1) for head in rows.chunk(self.heads, 1)]
        else:
            parts = [part.chunk(self.heads, 1) for part in rows.chunk(3, 1)]
            triples = list(zip(*parts, strict=True))
        mixed: list[Tensor] = []
        for query, key, value in triples:
            weights = torch.einsum("bci,bcj->bij", query, key) / math.sqrt(query.shape[1])
            mixed.append(torch.einsum("bij,bcj->bci", weights.softmax(2), value))
        return x + self.out(torch.cat(mixed, 1).reshape(x.shape))


class Down(nn.Conv2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class Up(nn.Conv2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x.repeat_interleave(2, 2).repeat_interleave(2, 3))


class GuidedUNet(nn.Module):
    """The U-Net of guided diffusion; ``stem`` is its first convolution."""

    def __init__(
        self, inputs: int, outputs: int, base: int, mult: list[int], blocks: int,
        attention: list[int], heads: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.base, time = base, 4 * base
        self.t1, self.t2 = nn.Linear(base, time), nn.Linear(time, time)
        self.stem = nn.Conv2d(inputs, base, 3, padding=1)
        self.encoder = nn.ModuleList()
        at, scale, widths = base, 1, [base]
        for level, m in enumerate(mult):
            for _ in range(blocks):
                layers: list[nn.Module] = [Residual(at, m * base, time)]
                at = m * base
                layers += [SelfAttention(at, heads)] if scale in attention else []
                self.encoder.append(nn.ModuleList(layers))
                widths.append(at)
            if level + 1 < len(mult):
                self.encoder.append(nn.ModuleList([Down(at)]))
                widths.append(at)
                scale *= 2
        self.middle = nn.ModuleList(
            [Residual(at, at, time), SelfAttention(at, heads), Residual(at, at, time)]
        )
        self.decoder = nn.ModuleList()
        for level in range(len(mult) - 1, -1, -1):
            for block in range(blocks + 1):
                layers = [Residual(at + widths.pop(), mult[level] * base, time)]
                at = mult[level] * base
                layers += [SelfAttention(at, heads)] if scale in attention else []
                if level > 0 and block == blocks:
                    layers.append(Up(at))
                    scale //= 2
                self.decoder.append(nn.ModuleList(layers))
        self.norm, self.head = nn.GroupNorm(32, at), nn.Conv2d(at, outputs, 3, padding=1)

    def forward(
        self, stem: Tensor, i: Tensor,
        at_bottleneck: Callable[[list[Tensor]], Tensor | float] = lambda pooled: 0.0,
    ) -> Tensor:  # fmt: skip
        """``at_bottleneck`` maps the features after each down-sampling to what is added."""
        time = self.t2(F.silu(self.t1(step_embedding(i, self.base))))
        kept, pooled, h = [stem], list[Tensor](), stem
        for layers in self.encoder:
            for layer in layers:  # type: ignore[attr-defined]
                h = layer(h, time)
                pooled += [h] if isinstance(layer, Down) else []
            kept.append(h)
        h = h + at_bottleneck(pooled)
        for layer in self.middle:
            h = layer(h, time)
        for layers in self.decoder:
            h = torch.cat([h, kept.pop()], 1)
            for layer in layers:  # type: ignore[attr-defined]
                h = layer(h, time)
        return self.head(F.silu(self.norm(h)))


class DenseEncoder(nn.Module):
    """SegDiff's image encoder: 64 features, growth 32 as published."""

    def __init__(self, inputs: int, outputs: int, rrdbs: int, features: int, growth: int) -> None:
        super().__init__()
        conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1)  # noqa: E731
        self.first = conv(inputs, features)
        self.dense = nn.ModuleList(
            nn.ModuleList(
                [conv(features + k * growth, growth) for k in range(4)]
                + [conv(features + 4 * growth, features)]
            )
            for _ in range(3 * rrdbs)
        )
        self.trunk, self.high = conv(features, features), conv(features, features)
        self.last = conv(features, outputs)

    def forward(self, image: Tensor) -> Tensor:
        act = lambda x: F.leaky_relu(x, 0.2)  # noqa: E731
        x = first = self.first(image)
        for start in range(0, len(self.dense), 3):
            block_input = x
            for dense in list(self.dense)[start : start + 3]:
                c1, c2, c3, c4, c5 = dense  # type: ignore[misc]
                x1 = act(c1(x))
                x2 = act(c2(torch.cat((x, x1), 1)))
                x3 = act(c3(torch.cat((x, x1, x2), 1)))
                x4 = act(c4(torch.cat((x, x1, x2, x3), 1)))
                x = x + 0.2 * c5(torch.cat((x, x1, x2, x3, x4), 1))
            x = block_input + 0.2 * x
        return self.last(act(self.high(first + self.trunk(x))))


class Stage(nn.Module):
    """Convolution, (dropout,) batch norm, leaky ReLU, twice."""

    def __init__(self, a: int, middle: int, b: int) -> None:
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(a, middle, 3, padding=1), nn.BatchNorm2d(middle)
        self.c2, self.n2 = nn.Conv2d(middle, b, 3, padding=1), nn.BatchNorm2d(b)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.n1(self.c1(x)), 0.01)
        return F.leaky_relu(self.n2(self.c2(x)), 0.01)


class FeedForward(nn.Module):
    """MedSegDiff's highway with three poolings: widths w, 2w, 4w."""

    def __init__(self, inputs: int, classes: int, w: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Stage(a, b, b) for a, b in ((inputs, w), (w, 2 * w), (2 * w, 4 * w))
        )
        self.bottom = Stage(4 * w, 4 * w, 4 * w)
        self.up = nn.ModuleList(Stage(2 * a, a, b) for a, b in ((4 * w, 2 * w), (2 * w, w), (w, w)))
        self.head = nn.Conv2d(w, classes, 1, bias=False)

    def encode(self, image: Tensor, gates: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x, kept = image, list[Tensor]()
        for level, stage in enumerate(self.down):
            x = stage(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
            x = x * gates[level] if gates else x
        return self.bottom(x), kept

    def decode(self, x: Tensor, kept: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, and the maps at 1, 1/2 and 1/4 of the resolution."""
        large = lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")  # noqa: E731
        quarter = self.up[0](torch.cat([large(x), kept[2]], 1))
        half = self.up[1](torch.cat([large(quarter), kept[1]], 1))
        full = self.up[2](torch.cat([large(half), kept[0]], 1))
        return self.head(full), full, half, quarter


class FrequencyGate(nn.Module):
    """A complex map times the spectrum; a spatial and a channel gate of what comes back."""

    def __init__(self, a: int, b: int, side: int) -> None:
        super().__init__()
        self.complex_map = nn.Parameter(torch.zeros(2, b, side, side // 2 + 1))
        self.squeeze, self.spatial = nn.Conv2d(a, b, 1), nn.Conv2d(b, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        real, imaginary = self.complex_map
        spectrum = torch.fft.rfftn(x, dim=(-2, -1), norm="ortho") * (real + 1j * imaginary)
        x = torch.fft.irfftn(spectrum, s=x.shape[-2:], dim=(-2, -1), norm="ortho")
        return self.spatial(x) * F.adaptive_avg_pool2d(x, 1)
