"""Everything that changes while training, and its checkpoint."""

from __future__ import annotations

import abc
import copy
import dataclasses
import io
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from trainables.config import Config
from trainables.data import Prepared
from trainables.models import Ensemble, Network
from trainables.runtime.seeding import generator
from trainables.runtime.worker_context import WorkerContext

Row = dict[str, Any]

LAYOUT = torch.channels_last
"""Of images and weights: CPU and GPU convolutions prefer it."""


def on(network: Network, device: str) -> Network:
    """The network on a device, in the convolutions' layout."""
    moved: Any = network
    return moved.to(device, memory_format=LAYOUT)


@dataclass
class Tally:
    """What a run accumulates besides weights; part of its checkpoint."""

    history: list[Row] = field(default_factory=list[Row])
    best_step: int = 0
    best_score: float = -1.0
    worse: int = 0
    """Validations since the best one."""
    validations: int = 0
    """Of the network that is being trained."""
    before: int = 0
    """Steps of the networks that were trained before it."""
    loss_sum: float = 0.0
    """Of the steps since the last validation."""
    seconds: float = 0.0
    """That the steps since the last validation took."""
    train_seconds: float = 0.0
    validate_seconds: float = 0.0


class Training(abc.ABC):
    """What the loop drives: the networks, how far they are, and a checkpoint of both."""

    splits: ClassVar[bool] = True
    """Whether a batch may be passed in parts."""
    last_counts: ClassVar[bool] = False
    """Whether the last weights are tested, and not those of the best validation."""
    network: Network
    ema: Network
    """What is validated."""
    best: Network
    trained: list[Network]
    """The best weights of the networks that are done."""
    step: int
    """Of the network that is being trained."""
    tally: Tally
    batch: int
    """Cases of a step."""

    @property
    @abc.abstractmethod
    def config(self) -> Config:
        """That of the network that is being trained."""

    @property
    @abc.abstractmethod
    def whole(self) -> Network:
        """What is tested."""

    @property
    @abc.abstractmethod
    def logs(self) -> list[Row]:
        """Rows of ``logs``: what was written beside the numbers."""

    @abc.abstractmethod
    def next(self) -> bool:
        """Begin the next network, if there is one."""

    @abc.abstractmethod
    def save(self, digest: str) -> bytes:
        """A checkpoint: tensors and JSON only."""

    @abc.abstractmethod
    def load(self, checkpoint: bytes, digest: str) -> None:
        """Continue from a checkpoint of the same config.

        Raises:
            ValueError: the checkpoint belongs to another config.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what is held beside memory; called once, however the run ends."""


class LibraryTraining(Training):
    """The same by the trainer of a model's own library."""

    @abc.abstractmethod
    def advance(self) -> float:
        """Make one step; returns the sum of its case losses."""


class State(Training):
    """What our own steps change; of an ensemble, one network after another."""

    def __init__(self, config: Config, data: Prepared, context: WorkerContext) -> None:
        self._config, self._data, self._context = config, data, context
        self.trained, self.tally, self.batch = [], Tally(), config.train.batch
        self._begin()

    @property
    def config(self) -> Config:
        """The first network has the seed of the whole."""
        seed, done = self._config.seed, len(self.trained)
        if done == 0:
            return self._config
        own = generator(seed, "network", done).initial_seed()
        return dataclasses.replace(self._config, seed=own)

    def _begin(self) -> None:
        config = self.config
        torch.manual_seed(generator(config.seed, "weights").initial_seed())
        self.network = self._built()
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.best = copy.deepcopy(self.ema)
        self.optimizer = torch.optim.AdamW(
            config.model.groups(self.network) if config.model.learns else [torch.zeros(1)],
            lr=config.train.learning_rate,
            weight_decay=config.train.weight_decay,
            fused=True,
        )
        self.step = 0

    def _built(self) -> Network:
        config = self._config
        network = config.model.build(config.ports)
        if not config.model.learns:
            network.fit(*self._data.training_tiles())
        return on(network, self._context.device)

    def next(self) -> bool:
        if len(self.trained) + 1 >= self._config.mode.runs:
            return False
        self.trained.append(self.best)
        self.tally.before += self.step
        self.tally.best_score, self.tally.worse, self.tally.validations = -1.0, 0, 0
        self._begin()
        return True

    @property
    def whole(self) -> Network:
        """The best weights, of all networks together where there are several."""
        return Ensemble([*self.trained, self.best]) if self.trained else self.best

    @property
    def logs(self) -> list[Row]:
        return []

    def save(self, digest: str) -> bytes:
        parts = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "best": self.best.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "trained": [network.state_dict() for network in self.trained],
        }
        about = {"digest": digest, "step": self.step, "tally": dataclasses.asdict(self.tally)}
        return written_checkpoint(parts, about)

    def load(self, checkpoint: bytes, digest: str) -> None:
        parts, about = own_checkpoint(checkpoint, digest)
        for name in ("network", "ema", "best", "optimizer"):
            getattr(self, name).load_state_dict(parts[name])
        for weights in parts.get("trained", ()):
            self.trained.append(copy.deepcopy(self.ema))
            self.trained[-1].load_state_dict(weights)
        self.step, self.tally = about["step"], Tally(**about["tally"])

    def close(self) -> None:
        """Nothing is held."""


def written_checkpoint(parts: dict[str, Any], about: dict[str, Any]) -> bytes:
    """State dicts, and what is JSON beside them."""
    buffer = io.BytesIO()
    torch.save({**parts, "about": json.dumps(about)}, buffer)
    return buffer.getvalue()


def own_checkpoint(checkpoint: bytes, digest: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was written, of a config.

    Raises:
        ValueError: the checkpoint belongs to another config, or is none.
    """
    parts, about = read_checkpoint(checkpoint)
    if about["digest"] != digest:
        raise ValueError(f"checkpoint of {about['digest']} cannot resume {digest}")
    return parts, about


def read_checkpoint(checkpoint: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dicts, and the JSON beside them (``digest``, ``step``, ``tally``).

    Raises:
        ValueError: the bytes are truncated or not a checkpoint; nothing but tensors is unpickled.
    """
    try:
        parts = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        return parts, json.loads(parts["about"])
    except Exception as error:
        raise ValueError(f"not a readable checkpoint ({len(checkpoint)} bytes): {error}") from None
