"""Failure signs of diffusion segmentation that the source study describes, named when seen.

Öttl et al. 2024 (arXiv 2403.14440): timesteps at which the image does not help, a loss that is not
monotone over timesteps; and two of a network that is not to be trusted. Each sign has its number.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.fingerprint.probes import Probed
from orchestrator.statistics.bootstrap import LEVEL, Array
from orchestrator.statistics.curve_intervals import Curves, of_means
from trainables.metrics import ratio

GOOD_DICE, HIGH_ECE = 0.8, 0.02
"""A Dice from which a mask looks right, and an ECE that its certainty should stay below."""
APART = 0.1
"""Of a number: how far one that should be the same may be from it."""


UNUSED = 0.9
"""Of the error without the image: what the error with it must reach to be called no better."""


def of_curves(probed: Probed) -> list[str]:
    """What the errors over t show: an image that is of no use at the noisy end, bumps."""

    def numbers(mean: Curves) -> dict[str, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"ratio": mean["eps_error"][..., -1] / mean["eps_error_dropped"][..., -1]}

    found: list[str] = []
    numbered = of_means(probed.curves, probed.counted, numbers)
    unused, low, high = (numbered[f"ratio{end}"] for end in ("", "_low", "_high"))
    if unused is not None and high is not None and high >= 1 and unused >= UNUSED:
        begin = probed.low[-1]
        found.append(
            f"image unused at the noisy end: error {unused:.3f} [{low:.3f}, {high:.3f}] of that"
            f" without it at t > {begin:.2f}"
        )
    middles = (probed.low + probed.high) / 2
    for what, (at, size) in bumps(probed.curves["eps_error"], probed.counted).items():
        found.append(
            f"loss not monotone: {what} at t = {middles[at]:.2f}, {size:.3g} beyond both ends"
        )
    return found


def bumps(values: Array, counted: Array) -> dict[str, tuple[int, float]]:
    """``peak`` and ``dip`` of the mean of curves [rows, strata], if it has them: place and size,
    where they are clearest.

    A bump is beyond both ends, by more than chance in some stratum: the lower confidence limits of
    all inner strata hold at once, by the largest of their studentised deviations over resamples
    (Romano & Wolf 2005, Econometrica 73:1237), 2.5 % for peaks and as much for dips.
    """
    if values.shape[1] < 3 or len(values) < 2:
        return {}
    drawn = counted @ values / counted.sum(1, keepdims=True)
    found: dict[str, tuple[int, float]] = {}
    for what, sign in (("peak", 1), ("dip", -1)):
        size, sizes = (_beyond(sign * means) for means in (values.mean(0), drawn))
        spread = sizes.std(0)
        deviation = ratio(sizes - size, np.broadcast_to(spread, sizes.shape))
        limit = np.percentile(np.nan_to_num(deviation).max(1), 100 * (1 + LEVEL) / 2)
        least = size - limit * spread
        at = int(least.argmax())
        if least[at] > 0:
            found[what] = at + 1, float(size[at])
    return found


def _beyond(mean: Array) -> Array:
    """How far each inner stratum is above both ends: [..., strata - 2]."""
    return mean[..., 1:-1] - np.maximum(mean[..., :1], mean[..., -1:])


def of_estimators(row: Mapping[str, float | None]) -> list[str]:
    """Two estimates of the information that are further apart than chance and a tenth."""
    apart, low, high = (row.get(f"disagreement{end}") for end in ("", "_low", "_high"))
    second = row.get("information_orthogonal")
    if apart is None or low is None or high is None or second is None:
        return []
    if low <= 0 <= high or abs(apart) <= APART * second:
        return []
    return [
        f"estimators disagree: {row['information']:.3f} by difference, {second:.3f} bits per pixel"
    ]


def of_edge(row: Mapping[str, float | None]) -> list[str]:
    """An image that the twin makes more of, by more than chance and a tenth."""
    value, low, high = (row.get(f"left_edge{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None or low <= 1 + APART:
        return []
    return [
        f"image used less well than by the twin: {value:.2f} [{low:.2f}, {high:.2f}] of its error"
    ]


def of_calibration(measured: Mapping[str, float]) -> list[str]:
    """Good masks with probabilities that are not."""
    dice, ece = (measured.get(name, np.nan) for name in ("dice", "ece"))
    if dice >= GOOD_DICE and measured.get("ece_low", np.nan) >= HIGH_ECE:
        return [f"high ECE in spite of good Dice: {ece:.3f} at {dice:.3f}"]
    return []
