"""Temperature scaling: a single number, fitted on validation cases, that calibrates a network.

Guo et al. 2017 (arXiv 1706.04599), section 4.2: logits are divided by the temperature T that
maximises the likelihood of the validation pixels. The most probable class stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from trainables import masks

LEAST = 1e-7
"""Probabilities are kept this far from 0 and 1, so that logits are finite in single precision."""
BOUNDS = (1 / 64, 64.0)
"""Bounds of T: without them a network that makes no error on validation would have T = 0."""
PIXELS = 1 << 20
"""The largest number of pixels of one case that are used, evenly spaced."""


class LabelledLogits(NamedTuple):
    """The logits of some pixels, [n, 1 or K, 1, 1], and their true {0, 1} channels."""

    logits: Tensor
    truth: Tensor


def labelled_logits(p_1MHW: Tensor, labels_HW: Tensor, classes: int) -> LabelledLogits:
    """Return the pixels of one case that count, float64; an ensemble is given by its mean."""
    which = masks.counted(labels_HW)
    every = max(1, -(-int(which.sum()) // PIXELS))
    flat = p_1MHW[0][:, which][:, ::every].T[:, :, None, None]
    labels = labels_HW[which][::every][:, None, None]
    truth = masks.to_channels(labels, classes).double()
    return LabelledLogits(masks.logits_of(flat.double(), LEAST), truth)


def fit(cases: Iterable[LabelledLogits], sum_over_workers: Callable[[Tensor], Tensor]) -> float:
    """Return the temperature that maximises the likelihood, the same on all workers."""
    cases = list(cases)

    def objective(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        loss = torch.zeros(1, dtype=torch.float64)
        for case in cases:
            loss += masks.cross_entropy(scale * case.logits, case.truth).sum()
        return float(sum_over_workers(loss))

    low, high = map(math.log, BOUNDS)
    result = minimize_scalar(
        objective, bounds=(low, high), method="bounded", options={"xatol": 1e-4}
    )
    return math.exp(float(result.x))


def scaled(p_1MHW: Tensor, temperature: float) -> Tensor:
    """Return the probabilities at a temperature; 1 leaves them unchanged."""
    return masks.probabilities(masks.logits_of(p_1MHW.double(), LEAST) / temperature).float()
