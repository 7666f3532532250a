"""Deep ensemble: the mean of several feed-forward networks that differ in their seed."""

from __future__ import annotations

from dataclasses import dataclass

from trainables import masks
from trainables.part import require
from trainables.segmenter import Segmenter


@dataclass(frozen=True)
class DeepEnsemble(Segmenter):
    """The mean of feed-forward twins (Lakshminarayanan et al. 2017, arXiv 1612.01474).

    ``networks`` are trained one after another in one trial, each as in the mode ``feedforward``:
    ``train.steps`` steps with its own initial weights, draws and best validation. The first has the
    seed of the trial, so it equals the network of a ``feedforward`` trial with this seed. Each
    network predicts ``members`` views of the image.
    """

    networks: int = 5
    """Networks that are trained, each from its own seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.networks >= 1, f"networks={self.networks} must be at least 1")

    @property
    def runs(self) -> int:
        return self.networks

    def mask_channels(self, classes: int) -> int:
        return masks.channels(classes)
