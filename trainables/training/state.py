"""The trainer of networks that this package trains itself: weights, optimiser, checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.checkpoint import Checkpoint
from trainables.data import prepared
from trainables.layers.batchnorm import BatchNorm2d
from trainables.models import Ensemble, Network
from trainables.rows import LogRow
from trainables.run import Run
from trainables.runtime.seeding import generator, seed_torch
from trainables.runtime.tensor_trees import host_copy
from trainables.trainer import Trainer, TrainingRecord
from trainables.training.adapted_times import adapted_times
from trainables.training.weights_file import WeightsFile

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
        self._best_file: WeightsFile | None = None
        self._best: Network | None = None
        self.optimizer = torch.optim.AdamW(
            config.model.groups(self.network) if config.model.learns else [torch.zeros(1)],
            lr=config.train.learning_rate,
            weight_decay=config.train.weight_decay,
            fused=True,
        )
        self.times = adapted_times(config.mode, config.train.steps, self.run.context.device)
        self.step = 0

    def _build(self) -> Network:
        config = self.run.config
        network = config.model.build(config.ports)
        if not config.model.learns:
            network.fit(*self.run.data.training_tiles())
        return to_device(network, self.run.context.device)

    @property
    def best(self) -> Network:
        """The network with the weights of the best validation; before the first, the averaged one.

        While training goes on these weights are in a file; a network that this returned keeps its
        weights, and changes to it count, until the next better validation.
        """
        if self._best is None:
            self._best = copy.deepcopy(self.ema)
            if self._best_file is not None:
                self._best.load_state_dict(self._best_file.tensors())
        return self._best

    def keep_best(self) -> None:
        self._set_best(self.ema.state_dict())

    def _set_best(self, weights: Mapping[str, Tensor]) -> None:
        self._best = None
        try:
            self._best_file = WeightsFile(weights)
        except OSError as error:
            warnings.warn(f"the best weights stay in memory: {error}", stacklevel=2)
            self._best_file = None
            self._best = copy.deepcopy(self.ema)
            self._best.load_state_dict(weights)

    def _best_weights(self) -> Mapping[str, Tensor]:
        """Return the best weights, which training does not change, without copying a file."""
        if self._best is None and self._best_file is not None:
            return self._best_file.tensors()
        return host_copy(self.best.state_dict())

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

    def save(self, digest: str) -> Checkpoint:
        changing = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.times is not None:
            changing["times"] = self.times.state
        state_dicts = {
            **host_copy(changing),
            "best": self._best_weights(),
            "trained": [network.state_dict() for network in self.trained],
        }
        tally = dataclasses.asdict(self.record)
        return Checkpoint(state_dicts, {"digest": digest, "step": self.step, "tally": tally})

    def load(self, checkpoint: Checkpoint, digest: str) -> None:
        checkpoint.require_digest(digest)
        state_dicts, header = checkpoint.state_dicts, checkpoint.header
        self.network.load_state_dict(state_dicts["network"])
        self.ema.load_state_dict(state_dicts["ema"])
        self.optimizer.load_state_dict(host_copy(state_dicts["optimizer"]))  # it may keep them
        if self.times is not None:
            self.times.load(state_dicts["times"])
        self._set_best(state_dicts["best"])
        for weights in state_dicts.get("trained", ()):
            network = copy.deepcopy(self.ema)
            network.load_state_dict(weights)
            self.trained.append(network)
        self.run = self._member_run()
        # A copy: the checkpoint stays what it is while this run adds to its history.
        tally = copy.deepcopy(header["tally"])
        self.step, self.record = header["step"], TrainingRecord(**tally)

    def close(self) -> None:
        """Do nothing: the file of the best weights vanishes with this object."""
