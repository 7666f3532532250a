"""Loss weights: how much each noise level counts, one file each."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch import Tensor

from trainables.diffusion import Target, error_ratio
from trainables.part import Part


class Weight(Part):
    """A factor per noise level on the squared error of the target that the network is asked for."""

    kind: ClassVar[str] = "weights"

    @abc.abstractmethod
    def on(self, log_snr: Tensor, target: Target) -> Tensor:
        """The weight on the squared error of the target at each λ, positive.

        ``log_snr``: float64, any shape; the result has its shape.
        """


def restated(weight: Tensor, log_snr: Tensor, given: Target, target: Target) -> Tensor:
    """A weight on the squared error of ``given`` as the one on ``target`` of the same loss.

    The errors of ε and v are that of x0 times SNR and 1 + SNR, so the weight is divided by that.
    """
    return weight * error_ratio(log_snr, given) / error_ratio(log_snr, target)
