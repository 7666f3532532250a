"""The two executors behind one interface: inline in a reused actor, or several Ray Train workers.

The only file of this package that imports ray.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Generator, Mapping
from typing import Any, cast

import ray
import torch
from ray import train, tune
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import get_device
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from torch import distributed as dist

from trainables.attempt import attempt
from trainables.config import parse
from trainables.loop import Progress
from trainables.place import Place, best_device
from trainables.record import Outcome

Job = Mapping[str, Any]
"""What Tune hands a trial: ``config`` (plain), ``digest``, ``sink``, ``cpus``, ``workers``."""


def report_of(progress: Progress) -> dict[str, Any]:
    """What Tune and its scheduler see of a validation."""
    return {
        "step": progress.step,
        "steps": progress.steps,
        "score": progress.score,
        "case_scores": progress.case_scores,
    }


class Inline(tune.Trainable):
    """One worker in a Tune actor that is reused: a trial costs a fraction of a second to start."""

    def setup(self, config: Job) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        torch.set_num_threads(max(1, int(config["cpus"])))
        self.reset_config(config)

    def reset_config(self, new_config: Job) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._run: Generator[Progress, None, Outcome] = attempt(
            parse(new_config["config"]), new_config["sink"], Place(device=best_device())
        )
        return True

    def step(self) -> dict[str, Any]:
        try:
            return {**report_of(next(self._run)), "done": False}
        except StopIteration as end:
            return {"outcome": end.value, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: checkpoints are in the ledger, where any machine finds them."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: an attempt resumes by itself."""


def ray_train_trial(job: Job) -> None:
    """A Tune trial that trains with ``job['workers']`` Ray Train workers (DDP)."""
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        DataParallelTrainer(
            train_worker,
            train_loop_config=dict(job),
            scaling_config=train.ScalingConfig(
                num_workers=job["workers"],
                use_gpu=gpu,
                resources_per_worker={"CPU": job["cpus"], **({"GPU": 1} if gpu else {})},
            ),
            run_config=train.RunConfig(
                name=job["digest"],
                storage_path=folder,
                callbacks=[TuneReportCallback()],
                failure_config=train.FailureConfig(max_failures=1, controller_failure_limit=3),
            ),
        ).fit()


def train_worker(job: Job) -> None:
    """The loop under Ray Train: the shim for rank, device and report."""
    torch.set_num_threads(max(1, int(job["cpus"])))
    context = train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), str(get_device()))
    meet(place)
    run = attempt(parse(job["config"]), job["sink"], place)
    try:
        while True:
            train.report(report_of(next(run)))
    except StopIteration as end:
        train.report({"outcome": end.value})
    finally:
        dist.destroy_process_group()


def meet(place: Place) -> None:
    """Form the process group at rank 0, which listens on its node's address only.

    The rendezvous of ``TorchTrainer`` listens on every interface of the machine.
    """
    listener = None
    if place.rank == 0:
        listener = socket.create_server((ray.util.get_node_ip_address(), 0))
    address = listener.getsockname()[:2] if listener else None
    host, port = cast("tuple[str, int]", broadcast_from_rank_zero(address))
    store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage] - public, not re-exported
        host,
        port,
        place.world,
        is_master=listener is not None,
        master_listen_fd=listener.detach() if listener else None,
    )
    backend = "gloo" if place.device == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world)
