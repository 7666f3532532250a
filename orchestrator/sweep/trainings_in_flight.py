"""The trainings that run: other trials that read the same weights wait for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.ledger.weights import WeightsStore
from orchestrator.planning.trainings import shared_trainings
from trainables.config import Config


@dataclass
class TrainingsInFlight:
    """Which trainings are kept, and which of them running trials train."""

    kept: set[str]
    """Trainings whose weights exist."""
    shares: bool
    """Whether trials keep their weights; if not, none waits."""
    _running: dict[str, set[str]] = field(default_factory=dict[str, "set[str]"])
    """The trainings that each running trial trains, by Tune's trial id."""

    def free(self, config: Config) -> bool:
        """Whether no running trial trains weights that this config needs."""
        busy = set[str]().union(*self._running.values())
        return not self.shares or busy.isdisjoint(self._left(config))

    def _left(self, config: Config) -> set[str]:
        return set(shared_trainings(config)) - self.kept

    def started(self, tune_id: str, config: Config) -> None:
        """Note that a trial trains what is left of its trainings."""
        self._running[tune_id] = self._left(config)

    def ended(self, tune_id: str, weights: WeightsStore) -> None:
        """Note the end of a trial, and which of its trainings are kept."""
        trained = self._running.pop(tune_id, set())
        self.kept |= {training for training in trained if weights.has(training)}
