"""MedSegDiff's highway: a feed-forward U-Net of the image, parallel to the diffusion U-Net."""

# torch.fft is not annotated: its results are cast.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.layers.batchnorm import BatchNorm2d
from trainables.layers.dropout import Dropout2d


class HighwayOutput(NamedTuple):
    """The output of the highway for an image."""

    logits: Tensor
    """The segmentation of the highway, float32 [B, classes, H, W]."""
    bottleneck: Tensor
    """[B, C, H/2ⁿ, W/2ⁿ]."""
    maps: list[Tensor]
    """Decoder features from coarse to full resolution."""


class Highway(nn.Module):
    """An nnU-Net-like U-Net (Isensee et al. 2021): widths double to a cap, max-pooling, one head.

    For ``width`` 32 and five poolings the widths are 32-64-128-256-480.
    """

    def __init__(self, inputs: int, classes: int, width: int, poolings: int) -> None:
        super().__init__()
        widths = [min(width << depth, 15 * width) for depth in range(poolings)]
        self.widths = widths
        drop = 0.5
        self.encoder = nn.ModuleList(
            nn.Sequential(Block(before, after, drop), Block(after, after, drop))
            for before, after in zip([inputs, *widths], widths, strict=False)
        )
        deepest = widths[-1]
        self.bottom = nn.Sequential(Block(deepest, deepest, drop), Block(deepest, deepest, drop))
        self.decoder = nn.ModuleList(
            nn.Sequential(Block(2 * here, here, 0.0), Block(here, above, 0.0))
            for here, above in zip(widths[::-1], [*widths[-2::-1], width], strict=True)
        )
        self.head = nn.Conv2d(width, classes, 1, bias=False)
        self.apply(he_initialised)

    @staticmethod
    def decoded(width: int, poolings: int) -> list[int]:
        """Channels of :attr:`HighwayOutput.maps`."""
        widths = [min(width << depth, 15 * width) for depth in range(poolings)]
        return [*widths[-2::-1], width]

    def forward(self, image_BCHW: Tensor, gates: Sequence[Tensor] = ()) -> HighwayOutput:
        """Segment an image; ``gates`` multiply the features after the first poolings, one each."""
        x = image_BCHW
        skips: list[Tensor] = []
        for depth, stage in enumerate(self.encoder):
            x = stage(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
            if depth < len(gates):
                x = x * gates[depth]
        x = bottleneck = self.bottom(x)
        maps: list[Tensor] = []
        for stage in self.decoder:
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, skips.pop()], 1))
            maps.append(x)
        return HighwayOutput(self.head(x).float(), bottleneck, maps)


SLOPE = 0.01


def he_initialised(layer: nn.Module) -> None:
    """Initialise a convolution before a leaky ReLU (He et al. 2015); biases are zero."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class Block(nn.Module):
    """Convolution, channel dropout, batch normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, drop: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.drop = Dropout2d(drop)
        self.norm = BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.drop(self.conv(x))), SLOPE)


class FFParser(nn.Module):
    """A learned filter in the frequency domain (Wu et al. 2022, arXiv 2211.00611), and its gate.

    ``side`` is the map size of the stored filter, which is interpolated over frequency for other
    sizes.
    """

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, outputs, 1)
        self.filter = nn.Parameter(0.02 * torch.randn(2, outputs, side, side // 2 + 1))
        self.spatial = nn.Conv2d(outputs, 1, 1)
        self.apply(he_initialised)

    def forward(self, features: Tensor) -> Tensor:
        """Return the gate [B, outputs, H, W]: a spatial map times a channel mean."""
        h = self.squeeze(features)
        height, width = h.shape[2:]
        with torch.autocast(h.device.type, enabled=False):  # no FFT in half precision
            real, imaginary = resampled(self.filter.float(), height, width // 2 + 1)
            spectrum = cast("Tensor", torch.fft.rfft2(h.float(), norm="ortho"))
            spectrum = spectrum * torch.complex(real, imaginary)
            filtered = cast("Tensor", torch.fft.irfft2(spectrum, s=(height, width), norm="ortho"))
            h = filtered.to(h.dtype)
        return self.spatial(h) * h.mean((2, 3), keepdim=True)


def resampled(filter_2CHW: Tensor, height: int, width: int) -> Tensor:
    """Interpolate a half spectrum bilinearly to another resolution; frequency zero stays fixed."""
    if filter_2CHW.shape[2:] == (height, width):
        return filter_2CHW
    centred = _with_both_ends(cast("Tensor", torch.fft.fftshift(filter_2CHW, dim=2)))
    rows = height + 1 - height % 2
    dense = functional.interpolate(centred, (rows, width), mode="bilinear", align_corners=True)
    return cast("Tensor", torch.fft.ifftshift(dense[:, :, :height], dim=2))


def _with_both_ends(centred: Tensor) -> Tensor:
    """Repeat the row of frequency −½ as +½, the same frequency, where the row count is even."""
    if centred.shape[2] % 2 == 1:
        return centred
    return torch.cat([centred, centred[:, :, :1]], 2)
