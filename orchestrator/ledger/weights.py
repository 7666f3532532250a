"""Weights of finished trainings, by the digest of the training.

``weights/TRAINING/HASH.safetensors`` is written first, then the record ``weights/TRAINING.json``,
which names the hash and is created only if it is absent. So a record always has its weights, and of
two processes that train the same at once, the first one's weights count.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.storage.object_store import Store

if TYPE_CHECKING:  # it imports torch, which commands that only list weights do without
    from trainables.training.trained import Trained

PREFIX = "weights/"
Keep = Literal["none", "final"]
log = logging.getLogger("segprint.weights")


@dataclass(frozen=True)
class Retention:
    """Which weights a study keeps."""

    keep: Keep = "final"
    """``final``: the weights of the best validation; ``none``: no weights."""
    gigabytes: float | None = None
    """The largest total size of all weights in the store, in 10⁹ bytes."""


@dataclass(frozen=True)
class WeightsStore:
    """The weights in a store."""

    store: Store

    def sizes(self) -> dict[str, int]:
        """Return the bytes of the weights of each training that has a record. One listing."""
        records: set[str] = set()
        sizes: dict[str, int] = {}
        for entry in self.store.entries(PREFIX):
            training, _, rest = entry.key.removeprefix(PREFIX).partition("/")
            if rest:
                sizes[training] = sizes.get(training, 0) + entry.size
            else:
                records.add(training.removesuffix(".json"))
        return {training: size for training, size in sizes.items() if training in records}

    def has(self, training: str) -> bool:
        """Whether there is a record of a training's weights."""
        return bool(self.store.get_many([record_key(training)]))

    def load(self, training: str) -> Trained | None:
        """Return the weights of a training; None if none are kept.

        Raises:
            WeightsError: they are damaged; names them by their hash.
        """
        from trainables.training.trained import Trained, WeightsError

        try:
            header = self.store.get(record_key(training))
        except KeyError:
            return None
        record = Trained.parse(header)
        if record.training != training:
            raise WeightsError(f"{record_key(training)} is the record of {record.training}")
        try:
            tensors = self.store.get(weights_key(training, record.sha256))
        except KeyError:
            raise WeightsError(
                f"weights {record.sha256[:16]} of training {training} are gone"
            ) from None
        if not tensors:
            raise WeightsError(f"weights {record.sha256[:16]} of training {training} are empty")
        return Trained.parse(header, tensors)

    def keep(self, trained: Trained, retention: Retention) -> Trained:
        """Keep weights as far as a study wants them, and return those that count.

        Damaged weights of the same training are replaced.
        """
        from trainables.training.trained import WeightsError

        if retention.keep == "none" or not self._affordable(trained, retention):
            return trained
        key = record_key(trained.training)
        self.store.put(weights_key(trained.training, trained.sha256), trained.tensors)
        if self.store.create(key, trained.header()):
            return trained
        try:
            first = self.load(trained.training)
        except WeightsError:
            first = None
        if first is None:
            self.store.put(key, trained.header())
            return trained
        if first.sha256 != trained.sha256:
            self.store.delete(weights_key(trained.training, trained.sha256))
        return first

    def _affordable(self, trained: Trained, retention: Retention) -> bool:
        if retention.gigabytes is None:
            return True
        used = sum(self.sizes().values())
        if used + len(trained.tensors) <= retention.gigabytes * 1e9:
            return True
        log.warning(
            "segprint: weights of training %s are not kept: the store holds %.3f of %.3f GB",
            trained.training,
            used / 1e9,
            retention.gigabytes,
        )
        return False

    def delete(self, training: str) -> None:
        """Delete the weights of a training, the record first."""
        self.store.delete(record_key(training))
        for key in self.store.list(f"{PREFIX}{training}/"):
            self.store.delete(key)


def record_key(training: str) -> str:
    """Return where the record of a training is stored."""
    return f"{PREFIX}{training}.json"


def weights_key(training: str, sha256: str) -> str:
    """Return where weights are stored."""
    return f"{PREFIX}{training}/{sha256}.safetensors"
