"""The interface of losses that a mode adds to its own."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainables.part import Part, require


@dataclass(frozen=True)
class Loss(Part):
    """A further term of a mode's loss: ``weight`` times :meth:`value`."""

    kind: ClassVar[str] = "losses"

    weight: float = 1.0
    """The factor of the term in the loss."""

    def __post_init__(self) -> None:
        require(self.weight >= 0, f"weight={self.weight} must not be negative")

    @abc.abstractmethod
    def value(self, p_BMHW: Tensor, mask_BMHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Return the finite loss of each case, [B].

        ``p_BMHW`` are class probabilities, ``mask_BMHW`` the true {0, 1} channels, of the
        foreground for two classes, else of every class. ``labels_BHW`` are uint8; pixels of
        :data:`~trainables.labels.IGNORE` must not count.
        """
