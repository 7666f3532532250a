"""nnU-Net's trainer, driven step by step, so that it is validated and resumed like any other."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import json
import random
import time
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch

from trainables.checkpoint import Checkpoint
from trainables.models import Network, require_installed
from trainables.models.nnunet import NNUNet
from trainables.nnunet.plans import Plan, prepare
from trainables.nnunet.predictor import NNUNetPredictor
from trainables.nnunet.workspace import Workspace
from trainables.part import require
from trainables.rows import LogRow
from trainables.run import Run
from trainables.runtime.seeding import generator, seed_torch
from trainables.runtime.tensor_trees import host_copy
from trainables.schemas import DivergedError
from trainables.trainer import LibraryTrainer, TrainingRecord


class NNUNetTrainer(LibraryTrainer):
    """One training by nnU-Net: the order of calls is that of ``nnUNetTrainer.run_training``.

    nnU-Net has no seed, so every draw is seeded here by the config's seed and the step. The last
    weights are tested, as nnU-Net does, and no others. Its batches are never split.
    """

    last_counts: ClassVar[bool] = True

    def __init__(self, run: Run) -> None:
        config, context = run.config, run.context
        require_installed(config.model)
        require(
            context.world == 1,
            f"model {config.model.name} trains with one worker, not {context.world}",
        )
        began = time.perf_counter()
        self._model = cast("NNUNet", config.model)
        self.run = run.without_microbatches()
        self.step, self.record, self.trained = 0, TrainingRecord(), []
        self._losses: list[float] = []
        self._earlier_log = ""
        self._workspace = Workspace()
        epochs = config.train.steps // self._model.iterations
        with contextlib.ExitStack() as failing:
            failing.callback(self._workspace.close)
            with self._workspace.active(planning=True):
                plan = prepare(run, self._model, self._workspace)
            with self._workspace.active():
                self._seed("weights")
                self.trainer = create(plan, self._model, epochs, context.device)
            failing.pop_all()
        self.batch = int(self.trainer.batch_size)
        self._predictor = NNUNetPredictor(
            self.trainer, self._model, config.classes, self._workspace
        )
        self.network = self.ema = self._predictor
        self._preparing = time.perf_counter() - began
        self.record.seconds = self._preparing

    @property
    def best(self) -> Network:
        return self._predictor

    def keep_best(self) -> None:
        """Do nothing: the last weights are tested."""

    @property
    def final_network(self) -> Network:
        return self._predictor

    @property
    def logs(self) -> list[LogRow]:
        plan = json.dumps(self.trainer.plans_manager.plans)
        return [{"name": "plan", "text": plan}, {"name": "log", "text": self._log()}]

    def _log(self) -> str:
        """Return the log of the trainer and of earlier attempts, without the workspace's path."""
        text = Path(self.trainer.log_file).read_text(encoding="utf-8")
        return self._earlier_log + text.replace(str(self._workspace.directory), "")

    def begin_next(self) -> bool:
        return False

    def advance(self) -> float:
        trainer = self.trainer
        self.run.context.beat()
        self._predictor.forget()
        with self._workspace.active():
            if self.step % self._model.iterations == 0:
                trainer.on_epoch_start()
                trainer.on_train_epoch_start()
            trainer.network.train()
            trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
            self._seed(self.step, "step")
            loss = float(trainer.train_step(next(trainer.dataloader_train))["loss"])
            if loss - loss != 0.0:
                raise DivergedError(
                    f"loss is {loss} at step {self.step} of {self.run.config.train.steps}"
                )
            self._losses.append(loss)
            self.step += 1
            if self.step % self._model.iterations == 0:
                self._end_epoch()
        return loss * self.batch

    def _end_epoch(self) -> None:
        """Let the library validate on patches and write its log."""
        trainer = self.trainer
        trainer.on_train_epoch_end([{"loss": np.float32(loss)} for loss in self._losses])
        self._losses = []
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            outputs: list[Any] = []
            for batch in range(self._model.val_iterations):
                self.run.context.beat()
                self._seed(self.step, batch, "validation")
                outputs.append(trainer.validation_step(next(trainer.dataloader_val)))
            trainer.on_validation_epoch_end(outputs)
        trainer.on_epoch_end()

    def _seed(self, *purpose: int | str) -> None:
        """Seed all generators that nnU-Net draws from."""
        seed = generator(self.run.config.seed, *purpose, "nnunet").initial_seed()
        seed_torch(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)

    def save(self, digest: str) -> Checkpoint:
        trainer = self.trainer
        scaler = trainer.grad_scaler
        state_dicts: dict[str, Any] = {
            "network": trainer.network.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": {} if scaler is None else scaler.state_dict(),
        }
        curves = {k: _as_json(v) for k, v in trainer.logger.get_checkpoint().items()}
        nnunet = {
            "epoch": trainer.current_epoch,
            "losses": list(self._losses),
            "curves": curves,
            "best": _as_json(trainer._best_ema),
            "log": self._log(),
        }
        tally = dataclasses.asdict(self.record)
        return Checkpoint(
            host_copy(state_dicts),
            {"digest": digest, "step": self.step, "tally": tally, "nnunet": nnunet},
        )

    def load(self, checkpoint: Checkpoint, digest: str) -> None:
        checkpoint.require_digest(digest)
        state_dicts, header = checkpoint.state_dicts, copy.deepcopy(checkpoint.header)
        trainer, nnunet = self.trainer, header.get("nnunet", {})
        trainer.network.load_state_dict(state_dicts["network"])
        trainer.optimizer.load_state_dict(state_dicts["optimizer"])
        if trainer.grad_scaler is not None:
            trainer.grad_scaler.load_state_dict(state_dicts["scaler"])
        trainer.logger.load_checkpoint(nnunet["curves"])
        trainer.current_epoch, trainer._best_ema = nnunet["epoch"], nnunet["best"]
        self._losses, self._earlier_log = nnunet["losses"], nnunet["log"]
        self.step, self.record = header["step"], TrainingRecord(**header["tally"])
        self.record.seconds += self._preparing  # the preparation was repeated

    def close(self) -> None:
        self._workspace.close()


def create(plan: Plan, model: NNUNet, epochs: int, device: str) -> Any:
    """Return nnU-Net's trainer with the configured numbers of epochs and iterations.

    Call it in an active workspace.
    """
    library = importlib.import_module("nnunetv2.training.nnUNetTrainer.nnUNetTrainer")
    trainer = library.nnUNetTrainer(
        plans={**plan.plans, "continue_training": False},
        configuration=model.configuration,
        fold=plan.fold,
        dataset_json=plan.dataset,
        device=torch.device(device),
    )
    trainer.num_epochs = epochs
    trainer.num_iterations_per_epoch = model.iterations
    trainer.num_val_iterations_per_epoch = model.val_iterations
    trainer.disable_checkpointing = True  # the store keeps the checkpoints of this package
    trainer.logger.plot_progress_png = _no_plot
    trainer.on_train_start()
    return trainer


def _no_plot(folder: str) -> None:
    """Plot nothing: a plot after every epoch takes seconds, and the rows hold the curves."""


def _as_json(value: Any) -> Any:
    """Convert NumPy numbers to JSON numbers."""
    if isinstance(value, list):
        return [_as_json(v) for v in cast("list[Any]", value)]
    return None if value is None else float(value)
