"""The interface of loss weights."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch import Tensor

from trainables.diffusion import Target
from trainables.part import Part


class Weight(Part):
    """A factor per noise level on the squared error of the network's target."""

    kind: ClassVar[str] = "weights"

    @abc.abstractmethod
    def on(self, log_snr: Tensor, target: Target) -> Tensor:
        """Return the positive weight on the squared error of the target at each λ.

        ``log_snr`` is float64 of any shape; the result has its shape.
        """
