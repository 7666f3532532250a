"""The best denoiser that sees one noisy pixel and knows the prevalence, and nothing else.

Its ε-error needs no network. It is above that of any best denoiser, with the image or without,
since it knows less; and its area over log-SNR is the entropy of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

NOISE = np.linspace(-9, 9, 901)
"""Where the standard normal is integrated over, by the trapezoid rule."""
STEP = 0.05
"""At most so far apart in λ are the points of an area."""
SPAN = (-40.0, 8.0)
"""Of λ for a ±1 pixel: below and above, less than 1e-12 nats are left."""


@dataclass(frozen=True)
class Pixelwise:
    """Of the rows of a fingerprint, the share of ones in each channel: [rows, channels].

    What is known beforehand is their mean over all rows. ``scale`` is the encoding's: channels are
    ±scale, up to an offset that does not matter. Channels are taken one by one, so that with more
    than one the entropy is that of independent channels, above the mask's.
    """

    shares: Array
    scale: float

    @property
    def foreground(self) -> Array:
        """The share of foreground, all classes together: [rows]."""
        return self.shares[:, 0] if self.shares.shape[1] == 1 else 1 - self.shares[:, 0]

    def areas(self, low: Array, high: Array) -> Array:
        """Half the ε-error's integral over each [low, high] of λ, bits per pixel: [rows, N].

        Ends may be infinite.
        """
        found = np.zeros((len(self.shares), len(low)))
        for channel, prior in zip(self.shares.T, self.shares.mean(0), strict=True):
            for i, ends in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
                one, zero = _areas(*ends, float(prior), self.scale)
                found[:, i] += channel * one + (1 - channel) * zero
        return found / np.log(2)


@lru_cache(maxsize=4096)
def _areas(low: float, high: float, p: float, scale: float) -> tuple[float, float]:
    """Nats that a pixel which is one, and one which is zero, have within [low, high]."""
    shift = 2 * np.log(scale)
    low, high = np.clip([low + shift, high + shift], *SPAN)
    if low == high:
        return 0.0, 0.0
    points = max(2, int(np.ceil((high - low) / STEP)))
    middles = low + (high - low) * (np.arange(points) + 0.5) / points
    one, zero = errors(middles, p)
    width = (high - low) / points
    return float(one.sum() * width / 2), float(zero.sum() * width / 2)


def errors(log_snr: Array, p: float) -> tuple[Array, Array]:
    """Mean squared ε-error where a ±1 pixel of prior p is one, and where it is zero: [N] each.

    With y = √s·x + n, s the SNR, the best estimate is tanh(√s·y + h), h half the prior's log-odds:
    the posterior's log-odds are 2(√s·y + h) by Bayes' rule. The ε-error is s times that of x; the
    two, weighted by p, have the area 2·H(p) over λ = log s (Guo, Shamai & Verdú 2005, arXiv
    cs/0412108).
    """
    prior = np.clip(p, 1e-12, 1 - 1e-12)
    half = np.log(prior / (1 - prior)) / 2
    weight = np.exp(-(NOISE**2) / 2) / np.exp(-(NOISE**2) / 2).sum()
    snr = np.exp(log_snr)[:, None]
    one, zero = (
        snr[:, 0] * ((2 * expit(-2 * (snr + np.sqrt(snr) * NOISE + h))) ** 2 @ weight)
        for h in (half, -half)
    )
    return one, zero
