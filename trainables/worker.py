"""Executors of trials under Ray: inline in a reused actor, or with several Ray Train workers.

This is the only file of the package that imports ray.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, cast

import ray
import torch
from ray import train, tune
from ray.train.backend import Backend, BackendConfig
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import get_device
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.trainable import wrap_function
from torch import distributed as dist

from trainables.config import parse
from trainables.runtime.process_group import lost_peer, process_group
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.training.attempt import AttemptEnd, attempt
from trainables.training.loop import Progress
from trainables.training.trial_row import mean_score

Job = Mapping[str, Any]
"""The config that Tune passes to a trial: ``config`` (plain), ``digest``, ``sink``, ``workers``
(a number, or minimum and maximum), ``cpus`` and ``gpus`` per worker, ``microbatch_factor``
(:class:`trainables.runtime.worker_context.WorkerContext`), ``checkpoint_every`` in minutes, or None
for every validation (:attr:`search_spaces.Space.checkpoint_every`), and ``collective_timeout``, the
seconds after which a worker stops waiting for the others of its trial."""

PEER_SECONDS = 60.0
"""The longest time that Ray takes to notice that a node is lost."""


def report_of(progress: Progress, *, first: bool = False) -> dict[str, Any]:
    """Return the progress of a run as Tune and its scheduler receive it.

    The first report of a run contains its earlier validations, also those of other attempts.
    ``history`` holds the rows of the validations since the last report.
    """
    validated = progress.score is not None
    return {
        "step": progress.step,
        "steps": progress.steps,
        "score": progress.score,
        "best": max(map(mean_score, progress.history), default=None),
        "case_scores": progress.case_scores,
        "ran": progress.environment,
        "history": progress.history if first else progress.history[-1:] if validated else [],
        "earlier": [
            {"step": row["step"], "score": mean_score(row), "case_scores": row["case_scores"]}
            for row in (progress.history if first else [])
        ],
    }


def leaving_nodes() -> frozenset[str]:
    """Return the ids of nodes that are about to leave; Ray has no public function for it."""
    untyped_ray: Any = ray
    return frozenset(untyped_ray._private.state.state.get_draining_nodes() or {})


def threads(job: Job) -> int:
    """Return the number of torch threads: one per CPU of the worker, so that none spins."""
    return max(1, int(job["cpus"]))


class Inline(tune.Trainable):
    """One worker in a reused Tune actor: a trial starts within a fraction of a second."""

    def setup(self, config: Job) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        torch.set_num_threads(threads(config))
        self.reset_config(config)

    def reset_config(self, new_config: Job) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._job = new_config
        self._progress: Progress | None = None
        self._run: Generator[Progress, None, AttemptEnd] = attempt(
            parse(new_config["config"]),
            new_config["sink"],
            WorkerContext(
                device=best_device(new_config["gpus"]),
                microbatch_factor=new_config["microbatch_factor"],
                gpu_share=min(1.0, new_config["gpus"]),
            ),
            new_config["digest"],
            new_config["checkpoint_every"],
        )
        return True

    def step(self) -> dict[str, Any]:
        first, self._progress = self._progress is None, None
        try:
            self._progress = next(self._run)
        except StopIteration as end:
            return {**cast("AttemptEnd", end.value)._asdict(), "done": True}
        return {**report_of(self._progress, first=first), "done": False}

    def keep(self) -> None:
        """Keep a checkpoint of this moment, because the process or its node is about to stop."""
        if self._progress is not None:
            self._progress.keep()

    def cleanup(self) -> None:
        """Keep a checkpoint where Tune stops the trial before its end."""
        self.keep()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: checkpoints are in the ledger, where every machine finds them."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Do nothing: an attempt loads its own checkpoint."""


def ray_train_trial(job: Job) -> None:
    """Run a Tune trial with ``job['workers']`` Ray Train workers (DDP).

    The sweep decides whether a failed run is retried, because it counts all failures. Ray Train
    restarts only a run that lost its node to a preemption.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer(job, folder, train_worker).fit()


class _SharedDevices(Backend):
    """Every worker sees the GPUs of all workers of its trial on its node.

    NCCL then copies from GPU to GPU directly; Ray alone shows each worker its own GPU only.
    """

    share_cuda_visible_devices = True


class _SharedDevicesConfig(BackendConfig):
    @property
    def backend_cls(self) -> type[Backend]:
        return _SharedDevices


def trainer(job: Job, folder: str, loop: Callable[[Job], None]) -> DataParallelTrainer:
    """Return the Ray Train run of a trial, whose workers each call ``loop``."""
    gpus = float(job["gpus"])
    return DataParallelTrainer(
        loop,
        train_loop_config=dict(job),
        backend_config=_SharedDevicesConfig(),
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
    )


_RayTrain = wrap_function(ray_train_trial)


class TrialActor(Inline, _RayTrain):
    """A Tune actor for both executors, so that one Tune run holds trials of all sizes.

    Tune reuses an actor for trials with the same resources only, which have the same executor.
    """

    @classmethod
    def default_resource_request(cls, config: Job) -> tune.PlacementGroupFactory:
        """Return the resources of this process; several workers have theirs from Ray Train."""
        if config["workers"] == 1:
            return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])
        # This process only waits for its workers; the head node is never preempted.
        return tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])

    def setup(self, config: Job) -> None:
        self._executor: Any = Inline if config["workers"] == 1 else _RayTrain
        self._executor.setup(self, config)

    def reset_config(self, new_config: Job) -> bool:
        return self._executor.reset_config(self, new_config)

    def step(self) -> dict[str, Any]:
        return self._executor.step(self)

    def cleanup(self) -> None:
        self._executor.cleanup(self)

    def save_checkpoint(self, checkpoint_dir: str = "") -> Any:
        return self._executor.save_checkpoint(self, checkpoint_dir)

    def load_checkpoint(self, checkpoint: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._executor.load_checkpoint(self, checkpoint)


def train_worker(job: Job) -> None:
    """Run an attempt under Ray Train, with its rank, device and reports."""
    torch.set_num_threads(threads(job))
    ray_context = train.get_context()
    rank, world = ray_context.get_world_rank(), ray_context.get_world_size()
    device = str(get_device()) if job["gpus"] else best_device(0)
    if device != "cpu":
        torch.cuda.set_device(device)  # the worker also sees the GPUs of others
    context = WorkerContext(rank, world, device, microbatch_factor=job["microbatch_factor"])
    try:
        with process_group(rendezvous(rank, world), rank, world, device, job["collective_timeout"]):
            _report_attempt(job, context)
    except RuntimeError as error:
        if lost_peer(error):  # so that Ray reports the dead node first, which is the cause
            time.sleep(PEER_SECONDS)
        raise


def _report_attempt(job: Job, context: WorkerContext) -> None:
    """Run an attempt in step with the other workers, and report its progress to Ray Train."""
    first, run = (
        True,
        attempt(parse(job["config"]), job["sink"], context, job["digest"], job["checkpoint_every"]),
    )
    leaving = leaving_nodes()
    try:
        while True:
            progress = next(run)
            if progress.score is not None:  # all workers wait for each other in a report
                train.report(report_of(progress, first=first))
                first = False
            elif context.rank == 0:  # whose state between two steps is that of all
                before, leaving = leaving, leaving_nodes()
                if leaving - before:
                    progress.keep()
    except StopIteration as end:
        train.report(cast("AttemptEnd", end.value)._asdict())


def rendezvous(rank: int, world: int) -> Any:
    """Return the ``torch.distributed.TCPStore`` of rank 0, which listens on no other interface.

    ``TorchTrainer`` would listen on every interface of the machine.
    """
    listener = None
    if rank == 0:
        node = cast("str", ray.util.get_node_ip_address())  # pyright: ignore[reportUnknownMemberType]
        listener = socket.create_server((node, 0))
    address = listener.getsockname()[:2] if listener else None
    host, port = cast("tuple[str, int]", broadcast_from_rank_zero(address))
    return dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage] - public, not re-exported
        host,
        port,
        world,
        is_master=listener is not None,
        master_listen_fd=listener.detach() if listener else None,
    )
