"""Temperature scaling: one number, fitted on validation, that says how sure a network should be.

Guo et al. 2017 (arXiv 1706.04599), section 4.2: logits are divided by the temperature T at which
the likelihood of the validation pixels is highest. Which class is the most probable stays the same.
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
"""A network that is never wrong on validation would be scaled without end."""
PIXELS = 1 << 20
"""Of one case, at most about so many are looked at, spread evenly."""


class Seen(NamedTuple):
    """What was predicted of some pixels: logits [n, 1 or K, 1, 1], true {0, 1} channels alike."""

    logits: Tensor
    truth: Tensor


def seen(p_1MHW: Tensor, labels_HW: Tensor, classes: int) -> Seen:
    """The pixels of one case, float64; probabilities may be the mean of an ensemble."""
    apart = -(-labels_HW.numel() // PIXELS)
    flat = p_1MHW[0].flatten(1)[:, ::apart].T[:, :, None, None]
    labels = labels_HW.flatten()[::apart][:, None, None]
    truth = masks.to_channels(labels, classes).double()
    return Seen(masks.logits_of(flat.double(), LEAST), truth)


def fitted(cases: Iterable[Seen], total: Callable[[Tensor], Tensor]) -> float:
    """The temperature of the highest likelihood, the same on all workers.

    ``total`` adds up what the workers found.
    """
    mine = list(cases)

    def objective(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        loss = torch.zeros(1, dtype=torch.float64)
        for case in mine:
            loss += masks.cross_entropy(scale * case.logits, case.truth).sum()
        return float(total(loss))

    low, high = map(math.log, BOUNDS)
    found = minimize_scalar(
        objective, bounds=(low, high), method="bounded", options={"xatol": 1e-4}
    )
    return math.exp(float(found.x))


def scaled(p_1MHW: Tensor, temperature: float) -> Tensor:
    """The probabilities at a temperature; at 1 they are as they were."""
    return masks.probabilities(masks.logits_of(p_1MHW.double(), LEAST) / temperature).float()
