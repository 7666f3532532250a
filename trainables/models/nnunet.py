"""nnU-Net: the library nnunetv2, which plans, trains and predicts by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trainables.models import Model, Network, Ports
from trainables.part import require


@dataclass(frozen=True)
class NNUNet(Model):
    """Isensee et al. 2021 (Nature Methods 18, 203-211), as implemented by nnunetv2.

    Its fingerprint of the training images decides patch, batch and network; its trainer has its own
    loss, optimiser, augmentation and learning rate; its predictor segments whole images.
    :mod:`trainables.library_rules` lists the fields of ``train`` that it uses. The number of epochs
    is ``train.steps / iterations``; the published 1,000 epochs of 250 iterations are
    ``train.steps = 250000``.
    """

    denoises: ClassVar = False
    package: ClassVar = "nnunetv2"
    cure: ClassVar = "make baselines"  # pip alone would install a torchvision of another build
    trains_itself: ClassVar = True

    configuration: Literal["2d"] = "2d"
    """The configuration that nnU-Net plans for two-dimensional images."""
    planner: Literal[
        "ExperimentPlanner", "nnUNetPlannerResEncM", "nnUNetPlannerResEncL", "nnUNetPlannerResEncXL"
    ] = "ExperimentPlanner"
    """The planner of nnU-Net."""
    memory: float | None = None
    """GPU memory in GB that patch and batch are planned for; None: the planner's own, 8 except
    for ResEncL and ResEncXL."""
    fold: int | None = None
    """The fifth of the training images, in nnU-Net's split, that is held out; None: it trains on
    all of them."""
    iterations: int = 250
    """Steps per epoch."""
    mirroring: bool = True
    """Whether the logits are averaged over four mirrored predictions."""

    def __post_init__(self) -> None:
        require(
            self.memory is None or self.memory > 0,
            f"memory={self.memory} must be positive, or null",
        )
        require(self.fold in (None, *range(5)), f"fold={self.fold} must be 0..4, or null")
        require(self.iterations >= 1, f"iterations={self.iterations} must be at least 1")

    @property
    def stride(self) -> int:
        return 1

    @property
    def every(self) -> int:
        return self.iterations

    @property
    def val_iterations(self) -> int:
        """Batches of the library's own validation per epoch, which is only logged."""
        return max(1, self.iterations // 5)

    @property
    def views(self) -> int:
        return 4 if self.mirroring else 1

    def build(self, ports: Ports) -> Network:
        raise ValueError(
            f"model {self.name} is planned from the training images: it has no network without them"
        )
