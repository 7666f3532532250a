"""The interface of trainers: the networks of a run, how far they are trained, and checkpoints."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import ClassVar

from trainables.checkpoint import Checkpoint
from trainables.models import Network
from trainables.rows import LogRow, StepRow
from trainables.run import Run


@dataclass
class TrainingRecord:
    """The history and the counters of a run; a part of its checkpoint, besides the weights."""

    history: list[StepRow] = field(default_factory=list[StepRow])
    best_step: int = 0
    best_score: float = -1.0
    worse: int = 0
    """Validations since the best one."""
    validations: int = 0
    """Validations of the network that is being trained."""
    before: int = 0
    """Steps of the networks that were trained before this one."""
    loss_sum: float = 0.0
    """The sum of case losses since the last validation."""
    seconds: float = 0.0
    """Training time since the last validation."""
    train_seconds: float = 0.0
    validate_seconds: float = 0.0
    kept_seconds: float = 0.0
    """The part of both that another run spent, whose weights were kept."""
    earlier_train_seconds: float = 0.0
    """The part of ``train_seconds`` that belongs to the networks before this one."""
    earlier_validate_seconds: float = 0.0

    def begin_next(self, step: int) -> None:
        """Begin the record of the next network, after ``step`` steps of this one."""
        self.before += step
        self.best_score, self.worse, self.validations = -1.0, 0, 0
        self.earlier_train_seconds = self.train_seconds
        self.earlier_validate_seconds = self.validate_seconds

    def of_network(self) -> TrainingRecord:
        """Return the record of the network that was trained last, as if it were the only one."""
        rows = [row for row in self.history if row["step"] > self.before or not self.before]
        return TrainingRecord(
            history=[{**row, "step": row["step"] - self.before} for row in rows],
            best_step=self.best_step - self.before,
            best_score=self.best_score,
            worse=self.worse,
            validations=self.validations,
            train_seconds=self.train_seconds - self.earlier_train_seconds,
            validate_seconds=self.validate_seconds - self.earlier_validate_seconds,
        )

    def adopt(self, kept: TrainingRecord) -> int:
        """Take over the record of a network that another run trained; return its last step.

        This run spent no time on its validations, so that its cost is the sum of its own.
        """
        for row in kept.history:
            self.history.append({**row, "step": row["step"] + self.before, "seconds": 0.0})
        self.best_step, self.best_score = self.before + kept.best_step, kept.best_score
        self.worse, self.validations = kept.worse, kept.validations
        self.train_seconds += kept.train_seconds
        self.validate_seconds += kept.validate_seconds
        self.kept_seconds += kept.train_seconds + kept.validate_seconds
        return kept.history[-1]["step"]


class Trainer(abc.ABC):
    """The networks of a run, driven by the training loop."""

    last_counts: ClassVar[bool] = False
    """Whether the last weights are tested, instead of those of the best validation."""
    run: Run
    """The run of the network that is being trained."""
    network: Network
    ema: Network
    """The network that is validated."""
    trained: list[Network]
    """The best networks of the members that are finished."""
    step: int
    """Steps of the network that is being trained."""
    record: TrainingRecord
    batch: int
    """Cases per step."""
    networks: int = 1
    """The number of networks that the run trains or reads."""

    @property
    @abc.abstractmethod
    def best(self) -> Network:
        """The network with the weights of the best validation."""

    @abc.abstractmethod
    def keep_best(self) -> None:
        """Make the weights of ``ema`` the best ones."""

    @property
    @abc.abstractmethod
    def final_network(self) -> Network:
        """The network that is tested."""

    @property
    @abc.abstractmethod
    def logs(self) -> list[LogRow]:
        """Rows of ``logs``: texts that the library of the model wrote."""

    @abc.abstractmethod
    def begin_next(self) -> bool:
        """Begin the next network; return False where there is none."""

    @abc.abstractmethod
    def save(self, digest: str) -> Checkpoint:
        """Return a checkpoint of this moment, which does not change while training goes on."""

    @abc.abstractmethod
    def load(self, checkpoint: Checkpoint, digest: str) -> None:
        """Continue from a checkpoint of the same config.

        Raises:
            ValueError: the checkpoint belongs to another config.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Release files and directories; called once, however the run ends."""


class LibraryTrainer(Trainer):
    """A trainer that delegates each step to the library of the model."""

    @abc.abstractmethod
    def advance(self) -> float:
        """Make one step and return the sum of its case losses."""

    def finish(self) -> float:
        """Return 0: the loss of every step is read when it is made."""
        return 0.0
