"""A model for drills: every training step takes a known time and leaves a line in a log.

A space names it by path, so it lies beside the study as a user's own file does. The log
``steps.log`` beside it shows which process made each step, so that repeated steps can be counted.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.models import Features, Model, Network, Output, Ports

LOG = Path(__file__).with_name("steps.log")


@dataclass(frozen=True)
class Paced(Model):
    """One convolution; ``trial`` names the trial in the log."""

    trial: str = "t"
    seconds: float = 0.02
    """Of a step, at least."""
    room: int = 1000
    """Cases that fit into memory at once."""
    trouble: str = "none"
    """``raises`` when it is built, or ``dies`` at its first step."""

    @property
    def stride(self) -> int:
        return 1

    def build(self, ports: Ports) -> Network:
        if self.trouble == "raises":
            raise RuntimeError("this model cannot be built")
        return Logged(self, ports)


class Logged(Network):
    def __init__(self, model: Paced, ports: Ports) -> None:
        super().__init__()
        self.model = model
        self.layer = nn.Conv2d(ports.image + ports.mask, ports.out, 1)

    def seed(self, seeds_B: Tensor) -> None:
        """Called once for each part of a batch, with what tells one step from all others."""
        if self.model.trouble == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if len(seeds_B) > self.model.room:
            raise torch.OutOfMemoryError("out of memory")
        if "RAY_JOB_ID" in os.environ:  # a trial's, not where a sweep times a step beforehand
            with LOG.open("a") as log:  # one short write: whole lines, whoever else writes
                log.write(f"{os.getpid()} {self.model.trial} {int(seeds_B[0])}\n")
        time.sleep(self.model.seconds)

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        return Output(self.layer(torch.cat([image_BCHW, mask_BMHW], 1)))
