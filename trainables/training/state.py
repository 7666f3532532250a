"""The trainer of networks that this package trains itself: weights, optimiser, checkpoints."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch

from trainables.checkpoint import read_checkpoint_of, write_checkpoint
from trainables.data import prepared
from trainables.layers.batchnorm import BatchNorm2d
from trainables.models import Ensemble, Network
from trainables.rows import LogRow
from trainables.run import Run
from trainables.runtime.seeding import generator, seed_torch
from trainables.trainer import Trainer, TrainingRecord

LAYOUT = torch.channels_last
"""The memory layout of images and weights that CPU and GPU convolutions prefer."""


def to_device(network: Network, device: str) -> Network:
    """Move a network to a device, in the layout of the convolutions."""
    moved: Any = network
    return moved.to(device, memory_format=LAYOUT)


class State(Trainer):
    """Everything that changes while training; an ensemble trains one network after another."""

    def __init__(self, run: Run) -> None:
        self._whole, self.networks = run, run.config.mode.runs
        self.trained, self.record, self.batch = [], TrainingRecord(), run.config.train.batch
        self._begin()
        if any(isinstance(module, BatchNorm2d) for module in self.network.modules()):
            # The statistics of a microbatch are not those of the batch.
            self._whole = run.without_microbatches()
            self.run = self._member_run()

    def _member_run(self) -> Run:
        """Return the run of the next network, which validates with a reading of its own."""
        config = self._whole.config.trainings[len(self.trained)]
        return dataclasses.replace(self._whole, config=config, data=prepared(config))

    def _begin(self) -> None:
        """Initialise the next network and its optimiser."""
        self.run = self._member_run()
        config = self.run.config
        seed_torch(generator(config.seed, "weights").initial_seed())
        self.network = self._build()
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.best = copy.deepcopy(self.ema)
        self.optimizer = torch.optim.AdamW(
            config.model.groups(self.network) if config.model.learns else [torch.zeros(1)],
            lr=config.train.learning_rate,
            weight_decay=config.train.weight_decay,
            fused=True,
        )
        self.step = 0

    def _build(self) -> Network:
        config = self._whole.config
        network = config.model.build(config.ports)
        if not config.model.learns:
            network.fit(*self._whole.data.training_tiles())
        return to_device(network, self._whole.context.device)

    def begin_next(self) -> bool:
        if len(self.trained) + 1 >= self.networks:
            return False
        self.trained.append(self.best)
        self.record.begin_next(self.step)
        self._begin()
        return True

    @property
    def final_network(self) -> Network:
        """The best weights, of all networks together where there are several."""
        return Ensemble([*self.trained, self.best]) if self.trained else self.best

    @property
    def logs(self) -> list[LogRow]:
        return []

    def save(self, digest: str) -> bytes:
        state_dicts = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "best": self.best.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "trained": [network.state_dict() for network in self.trained],
        }
        tally = dataclasses.asdict(self.record)
        return write_checkpoint(state_dicts, {"digest": digest, "step": self.step, "tally": tally})

    def load(self, checkpoint: bytes, digest: str) -> None:
        state_dicts, header = read_checkpoint_of(digest, checkpoint)
        for name in ("network", "ema", "best", "optimizer"):
            getattr(self, name).load_state_dict(state_dicts[name])
        for weights in state_dicts.get("trained", ()):
            network = copy.deepcopy(self.ema)
            network.load_state_dict(weights)
            self.trained.append(network)
        self.run = self._member_run()
        self.step, self.record = header["step"], TrainingRecord(**header["tally"])

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
