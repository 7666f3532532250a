"""nnU-Net's trainer, driven step by step, so that it is told, kept and continued like any other."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import random
import time
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch

from trainables.config import Config
from trainables.data import Prepared
from trainables.models import Network, require_installed
from trainables.models.nnunet import NNUNet
from trainables.nnunet.plans import Planned, prepare
from trainables.nnunet.predictor import NNUNetPredictor
from trainables.nnunet.workspace import Room
from trainables.part import require
from trainables.runtime.seeding import generator
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError
from trainables.training.state import (
    LibraryTraining,
    Row,
    Tally,
    own_checkpoint,
    written_checkpoint,
)


class NNUNetTraining(LibraryTraining):
    """One training of nnU-Net: the order of calls is that of ``nnUNetTrainer.run_training``.

    Every draw is seeded by the config's seed and the step, as with our own steps: nnU-Net has no
    seed of its own. Its last weights are tested, as it does, and no others.
    """

    splits: ClassVar[bool] = False
    last_counts: ClassVar[bool] = True

    def __init__(self, config: Config, data: Prepared, context: WorkerContext) -> None:
        require_installed(config.model)
        require(
            context.world == 1,
            f"model {config.model.name} trains with one worker, not {context.world}",
        )
        began = time.perf_counter()
        model = cast("NNUNet", config.model)
        self._config, self._model, self._context = config, model, context
        self._room = Room()
        self.step, self.tally, self.trained = 0, Tally(), []
        self._losses: list[float] = []
        self._earlier = ""
        epochs = config.train.steps // model.iterations
        with contextlib.ExitStack() as failing:
            failing.callback(self._room.close)
            with self._room.inside(planning=True):
                planned = prepare(config, model, data, self._room, context.beat)
            with self._room.inside():
                self._seed("weights")
                self.trainer = trainer_of(planned, model, epochs, context.device)
            failing.pop_all()
        self.batch = int(self.trainer.batch_size)
        self._reader = NNUNetPredictor(self.trainer, model, config.classes, self._room)
        self.network = self.ema = self.best = self._reader
        self._preparing = time.perf_counter() - began
        self.tally.seconds = self._preparing

    @property
    def config(self) -> Config:
        return self._config

    @property
    def whole(self) -> Network:
        return self.best

    @property
    def logs(self) -> list[Row]:
        plan = json.dumps(self.trainer.plans_manager.plans)
        return [{"name": "plan", "text": plan}, {"name": "log", "text": self._log()}]

    def _log(self) -> str:
        """What the trainer wrote, of earlier attempts too; it need not know where it was."""
        text = Path(self.trainer.log_file).read_text(encoding="utf-8")
        return self._earlier + text.replace(str(self._room.at), "")

    def next(self) -> bool:
        return False

    def advance(self) -> float:
        trainer = self.trainer
        self._context.beat()
        self._reader.forget()
        with self._room.inside():
            if self.step % self._model.iterations == 0:
                trainer.on_epoch_start()
                trainer.on_train_epoch_start()
            trainer.network.train()
            trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
            self._seed(self.step, "step")
            loss = float(trainer.train_step(next(trainer.dataloader_train))["loss"])
            if loss - loss != 0.0:
                raise DivergedError(
                    f"loss is {loss} at step {self.step} of {self._config.train.steps}"
                )
            self._losses.append(loss)
            self.step += 1
            if self.step % self._model.iterations == 0:
                self._end_epoch()
        return loss * self.batch

    def _end_epoch(self) -> None:
        """Its own validation on patches, and its log."""
        trainer = self.trainer
        trainer.on_train_epoch_end([{"loss": np.float32(loss)} for loss in self._losses])
        self._losses = []
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            found: list[Any] = []
            for batch in range(self._model.val_iterations):
                self._context.beat()
                self._seed(self.step, batch, "validation")
                found.append(trainer.validation_step(next(trainer.dataloader_val)))
            trainer.on_validation_epoch_end(found)
        trainer.on_epoch_end()

    def _seed(self, *words: int | str) -> None:
        """Of all the generators that nnU-Net draws from."""
        seed = generator(self._config.seed, *words, "nnunet").initial_seed()
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)

    def save(self, digest: str) -> bytes:
        trainer = self.trainer
        scaler = trainer.grad_scaler
        parts = {
            "network": trainer.network.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": {} if scaler is None else scaler.state_dict(),
        }
        curves = {k: _plain(v) for k, v in trainer.logger.get_checkpoint().items()}
        theirs = {
            "epoch": trainer.current_epoch,
            "losses": self._losses,
            "curves": curves,
            "best": _plain(trainer._best_ema),
            "log": self._log(),
        }
        about = {"digest": digest, "step": self.step, "tally": dataclasses.asdict(self.tally)}
        return written_checkpoint(parts, {**about, "nnunet": theirs})

    def load(self, checkpoint: bytes, digest: str) -> None:
        parts, about = own_checkpoint(checkpoint, digest)
        trainer, theirs = self.trainer, about["nnunet"]
        trainer.network.load_state_dict(parts["network"])
        trainer.optimizer.load_state_dict(parts["optimizer"])
        if trainer.grad_scaler is not None:
            trainer.grad_scaler.load_state_dict(parts["scaler"])
        trainer.logger.load_checkpoint(theirs["curves"])
        trainer.current_epoch, trainer._best_ema = theirs["epoch"], theirs["best"]
        self._losses, self._earlier = theirs["losses"], theirs["log"]
        self.step, self.tally = about["step"], Tally(**about["tally"])
        self.tally.seconds += self._preparing  # it had to be done again

    def close(self) -> None:
        self._room.close()


def trainer_of(planned: Planned, model: NNUNet, epochs: int, device: str) -> Any:
    """nnU-Net's own trainer, ready for so many epochs of so many iterations; all else is its own.

    Call it inside the room.
    """
    found = importlib.import_module("nnunetv2.training.nnUNetTrainer.nnUNetTrainer")
    trainer = found.nnUNetTrainer(
        plans={**planned.plans, "continue_training": False},
        configuration=model.configuration,
        fold=planned.fold,
        dataset_json=planned.dataset,
        device=torch.device(device),
    )
    trainer.num_epochs = epochs
    trainer.num_iterations_per_epoch = model.iterations
    trainer.num_val_iterations_per_epoch = model.val_iterations
    trainer.disable_checkpointing = True  # ours are kept in the store
    trainer.logger.plot_progress_png = _no_plot
    trainer.on_train_start()
    return trainer


def _no_plot(folder: str) -> None:
    """A picture of the curves after every epoch takes seconds; they are in the steps' rows."""


def _plain(value: Any) -> Any:
    """Numbers of numpy as JSON's."""
    if isinstance(value, list):
        return [_plain(v) for v in cast("list[Any]", value)]
    return None if value is None else float(value)
