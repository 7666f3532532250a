"""Failure signs of diffusion segmentation that the source study describes, named when seen.

Öttl et al. 2024 (arXiv 2403.14440): timesteps at which the image does not help, a loss that is not
monotone over timesteps; and two of a network that is not to be trusted. Each sign has its number.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.bootstrap import Array
from orchestrator.intervals import Curves, of_means
from orchestrator.probed import Probed

GOOD_DICE, HIGH_ECE = 0.8, 0.02
"""A Dice from which a mask looks right, and an ECE that its certainty should stay below."""
APART = 0.1
"""Of a number: how far one that should be the same may be from it."""


UNUSED = 0.9
"""Of the error without the image: what the error with it must reach to be called no better."""


def of_curves(probed: Probed) -> list[str]:
    """What the errors over t show: an image that is of no use at the noisy end, bumps.

    A bump is looked for where it is largest, so that noise alone shows one more often than in one
    of twenty fingerprints: a reason to look at the curve, not a test.
    """
    found: list[str] = []
    error = probed.curves["eps_error"].mean(0)
    top, bottom = int(error.argmax()), int(error.argmin())

    def numbers(mean: Curves) -> dict[str, Array]:
        image, dropped = mean["eps_error"], mean["eps_error_dropped"]
        left, right = image[..., 0], image[..., -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "ratio": image[..., -1] / dropped[..., -1],
                "rise": image[..., top] - np.maximum(left, right),
                "fall": np.minimum(left, right) - image[..., bottom],
            }

    numbered = of_means(probed.curves, probed.counted, numbers)
    ratio, low, high = (numbered[f"ratio{end}"] for end in ("", "_low", "_high"))
    if ratio is not None and high is not None and high >= 1 and ratio >= UNUSED:
        begin = probed.low[-1]
        found.append(
            f"image unused at the noisy end: error {ratio:.3f} [{low:.3f}, {high:.3f}] of that"
            f" without it at t > {begin:.2f}"
        )
    for name, at, what in (("rise", top, "peak"), ("fall", bottom, "dip")):
        size, least = numbered[name], numbered[f"{name}_low"]
        if size is not None and least is not None and least > 0:
            place = (probed.low[at] + probed.high[at]) / 2
            found.append(
                f"loss not monotone: {what} at t = {place:.2f}, {size:.3g} beyond both ends"
            )
    return found


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
