"""nnU-Net: the library nnunetv2 itself, which plans, trains and reads in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trainables.models import Model, Network, Ports
from trainables.part import require


@dataclass(frozen=True)
class NNUNet(Model):
    """Isensee et al. 2021 (Nature Methods 18, 203-211), whatever of it nnunetv2 decides.

    Its fingerprint of the training images plans patch, batch and network; its trainer brings the
    loss, the optimiser, the augmentation and the schedule; its predictor reads whole images. What
    is left of ``train`` is in :mod:`trainables.library_rules`. Its epochs are ``train.steps /
    iterations``, one number and not two that have to agree; published are 1,000 of 250:
    ``train.steps = 250000``.
    """

    denoises: ClassVar = False
    package: ClassVar = "nnunetv2"
    cure: ClassVar = "make baselines"  # pip alone would bring a torchvision of another build
    trains_itself: ClassVar = True

    configuration: Literal["2d"] = "2d"
    """The one that it plans for images of two dimensions."""
    planner: Literal[
        "ExperimentPlanner", "nnUNetPlannerResEncM", "nnUNetPlannerResEncL", "nnUNetPlannerResEncXL"
    ] = "ExperimentPlanner"
    memory: float | None = None
    """GB of a GPU that patch and batch are planned for; None: what the planner was published for, 8
    but for ResEncL and ResEncXL."""
    fold: int | None = None
    """Which fifth of the training images it does not train on, split as it splits them; None: it
    trains on all of them."""
    iterations: int = 250
    """Steps of an epoch."""
    mirroring: bool = True
    """Whether it reads an image four times, mirrored, and takes the mean of the logits."""

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
        """Batches of its own validation after an epoch, which decides nothing here: 50 of 250."""
        return max(1, self.iterations // 5)

    @property
    def views(self) -> int:
        return 4 if self.mirroring else 1

    def build(self, ports: Ports) -> Network:
        raise ValueError(
            f"model {self.name} is planned from the training images: there is none without them"
        )
