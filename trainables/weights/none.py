"""No weight: the unweighted squared error of the target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.diffusion import Target
from trainables.weights import Weight


@dataclass(frozen=True)
class Unweighted(Weight):
    """1 for each target; with ε the simple loss of Ho et al. 2020 (arXiv 2006.11239, eq. 14).

    Unlike with the other weights, the loss depends on the target.
    """

    def on(self, log_snr: Tensor, target: Target) -> Tensor:
        return torch.ones_like(log_snr)
