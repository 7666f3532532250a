"""The ε-error of the best denoiser that sees one noisy pixel and knows the prevalence only.

It has a closed form. It is an upper bound on the error of the best denoiser with or without the
image, which has more information, and its area over log-SNR is the entropy of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

NOISE = np.linspace(-9, 9, 901)
"""Points at which the standard normal density is integrated, by the trapezoid rule."""
STEP = 0.05
"""The largest distance in λ between the points at which an area is integrated."""
SPAN = (-40.0, 8.0)
"""Range of λ for a ±1 pixel; less than 1e-12 nats lie outside."""


@dataclass(frozen=True)
class Pixelwise:
    """The pixelwise denoiser for the rows of a fingerprint.

    Channels are independent, so that with more than one the entropy is an upper bound on that of
    the mask. The prior probability of a channel is its mean share over all rows.
    """

    shares: Array
    """The share of ones in each channel: [rows, channels]."""
    scale: float
    """The encoding's: channels are ±scale, up to an offset that does not matter."""

    @property
    def foreground(self) -> Array:
        """The share of foreground of all classes: [rows]."""
        return self.shares[:, 0] if self.shares.shape[1] == 1 else 1 - self.shares[:, 0]

    def areas(self, low: Array, high: Array) -> Array:
        """Half the integral of the ε-error over each [low, high] of λ, bits per pixel: [rows, N].

        Ends may be infinite.
        """
        nats = np.zeros((len(self.shares), len(low)))
        for channel, prior in zip(self.shares.T, self.shares.mean(0), strict=True):
            for i, ends in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
                one, zero = _areas(*ends, float(prior), self.scale)
                nats[:, i] += channel * one + (1 - channel) * zero
        return nats / np.log(2)


@lru_cache(maxsize=4096)
def _areas(low: float, high: float, p: float, scale: float) -> tuple[float, float]:
    """Half the integrals over [low, high] in nats, for a pixel that is one and one that is zero."""
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
    """Mean squared ε-error of a ±1 pixel with prior p, given that it is one, or zero: [N] each.

    With y = √s·x + n and SNR s, the best estimate is tanh(√s·y + h), where h is half the prior
    log-odds: the posterior log-odds are 2(√s·y + h) by Bayes' rule. The ε-error is s times that of
    x. The mean of both, weighted by p and 1 − p, has the area 2·H(p) over λ = log s (Guo, Shamai &
    Verdú 2005, arXiv cs/0412108).
    """
    prior = np.clip(p, 1e-12, 1 - 1e-12)
    half = np.log(prior / (1 - prior)) / 2
    weight = np.exp(-(NOISE**2) / 2) / np.exp(-(NOISE**2) / 2).sum()
    snr = np.exp(log_snr)[:, None]

    def error(h: float) -> Array:
        shortfall: Array = 2 * expit(-2 * (snr + np.sqrt(snr) * NOISE + h))
        return snr[:, 0] * (np.square(shortfall) @ weight)

    return error(half), error(-half)
