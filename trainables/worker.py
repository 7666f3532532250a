"""The two executors behind one interface: inline in a reused actor, or several Ray Train workers.

The only file of this package that imports ray.
"""

from __future__ import annotations

import socket
import tempfile
import time
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

from trainables.config import parse
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.training.attempt import Ended, attempt
from trainables.training.loop import Progress

Job = Mapping[str, Any]
"""What Tune hands a trial: ``config`` (plain), ``digest``, ``sink``, ``workers`` (one number, or
the fewest and the most), ``cpus`` and ``gpus`` of one worker, ``split`` (:class:`Place`)."""


PEER_SECONDS = 60.0
"""It takes Ray at most so long to notice that a node is gone."""


def lost_peer(error: BaseException) -> bool:
    """Whether a worker only lost its connection to another one."""
    return any(word in str(error) for word in ("Connection closed by peer", "Connection reset"))


def report_of(progress: Progress, *, first: bool = False) -> dict[str, Any]:
    """What Tune and its scheduler see of a run in flight; its first report tells of the validations
    that were before, in another attempt too.
    """
    scores = (row["score_sum"] / row["score_count"] for row in progress.history)
    return {
        "step": progress.step,
        "steps": progress.steps,
        "score": progress.score,
        "best": max(scores, default=None),
        "case_scores": progress.case_scores,
        "ran": progress.ran,
        "earlier": [
            {"step": row["step"], "score": row["score_sum"] / row["score_count"]}
            | {"case_scores": row["case_scores"]}
            for row in (progress.history if first else [])
        ],
    }


def threads(job: Job) -> int:
    """Of torch, as many as the worker has CPUs: spinning ones slow everybody down."""
    return max(1, int(job["cpus"]))


class Inline(tune.Trainable):
    """One worker in a Tune actor that is reused: a trial costs a fraction of a second to start."""

    def setup(self, config: Job) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        torch.set_num_threads(threads(config))
        self.reset_config(config)

    def reset_config(self, new_config: Job) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._job = new_config
        self._seen: Progress | None = None
        self._run: Generator[Progress, None, Ended] = attempt(
            parse(new_config["config"]),
            new_config["sink"],
            WorkerContext(
                device=best_device(new_config["gpus"]),
                microbatch_factor=new_config["microbatch_factor"],
            ),
            new_config["digest"],
        )
        return True

    def step(self) -> dict[str, Any]:
        first, self._seen = self._seen is None, None
        try:
            self._seen = next(self._run)
        except StopIteration as end:
            return {**cast("Ended", end.value)._asdict(), "done": True}
        return {**report_of(self._seen, first=first), "done": False}

    def keep(self) -> None:
        """Keep a checkpoint of this moment: the process, or its node, will not be there for long.

        After a validation there is one already.
        """
        if self._seen is not None and self._seen.score is None:
            self._job["sink"].keep(self._job["digest"], self._seen.save())

    def cleanup(self) -> None:
        """Tune stops the trial in the middle, and the process with it."""
        self.keep()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: checkpoints are in the ledger, where any machine finds them."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: an attempt resumes by itself."""


def ray_train_trial(job: Job) -> None:
    """A Tune trial that trains with ``job['workers']`` Ray Train workers (DDP).

    Whether and how a failed run is tried again is the sweep's decision, made where all failures
    are counted; Ray Train only restarts what lost its node to a preemption.
    """
    gpus = float(job["gpus"])
    with tempfile.TemporaryDirectory() as folder:
        DataParallelTrainer(
            train_worker,
            train_loop_config=dict(job),
            scaling_config=train.ScalingConfig(
                num_workers=job["workers"],
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": job["cpus"], **({"GPU": gpus} if gpus else {})},
            ),
            run_config=train.RunConfig(
                name=job["digest"],
                storage_path=folder,
                callbacks=[TuneReportCallback()],
                failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=3),
            ),
        ).fit()


def train_worker(job: Job) -> None:
    """The loop under Ray Train: the shim for rank, device and report."""
    torch.set_num_threads(threads(job))
    context = train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = str(get_device()) if job["gpus"] else best_device(0)
    context = WorkerContext(rank, world, device, microbatch_factor=job["microbatch_factor"])
    meet(context)
    run, first = attempt(parse(job["config"]), job["sink"], context, job["digest"]), True
    try:
        while True:
            progress = next(run)
            if progress.score is not None:  # a report is a meeting of all workers
                train.report(report_of(progress, first=first))
                first = False
    except StopIteration as end:
        train.report(cast("Ended", end.value)._asdict())
    except RuntimeError as error:
        if lost_peer(error):  # let its death be noticed first, which is the reason
            time.sleep(PEER_SECONDS)
        raise
    finally:
        dist.destroy_process_group()


def meet(context: WorkerContext) -> None:
    """Form the process group at rank 0, which listens on its node's address only.

    The rendezvous of ``TorchTrainer`` listens on every interface of the machine.
    """
    listener = None
    if context.rank == 0:
        listener = socket.create_server((ray.util.get_node_ip_address(), 0))
    address = listener.getsockname()[:2] if listener else None
    host, port = cast("tuple[str, int]", broadcast_from_rank_zero(address))
    store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage] - public, not re-exported
        host,
        port,
        context.world,
        is_master=listener is not None,
        master_listen_fd=listener.detach() if listener else None,
    )
    backend = "gloo" if context.device == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=context.rank, world_size=context.world)
