"""The training engine on one GPU: a table for ``docs/performance.md``.

No measurement begins after eight minutes.

``python -m bench gpu`` measures on the first GPU and writes the table; where there is none it says
so. ``python -m bench gpu --device=cpu --quick`` runs each section at a tiny size and
writes nothing.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed as dist
from torch import multiprocessing

from bench._gpu_work import (
    NETWORKS,
    Setting,
    flops_per_step,
    fused_seconds,
    matmul_flops,
    seconds_per_plain_step,
    seconds_per_step,
)
from trainables.evaluation import evaluate
from trainables.evaluation.captured import CapturedSampling, capturable
from trainables.evaluation.predict import Predict
from trainables.runtime.environment import device_name
from trainables.training.step import Stepper

LIMIT_SECONDS = 480.0
PAGE = Path(__file__).parent.parent / "docs/performance.md"
HEADING = "## Measured on a GPU\n"
PRECISIONS = ("float32", "tf32", "bfloat16")
ARMS = 8


class Row(NamedTuple):
    """One measurement."""

    section: str
    what: str
    value: str


def main(*options: str) -> None:
    """Measure, print each row, and on a GPU write the table."""
    choices = {"--quick", "--device=cpu", "--device=cuda"}
    for option in options:
        if option not in choices:
            raise SystemExit(f"bench gpu: unknown option {option} (choices: {sorted(choices)})")
    device = "cpu" if "--device=cpu" in options else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("gpu: no GPU here")
        return
    setting = Setting(device, quick="--quick" in options)
    rows = list(measured(setting))
    if device == "cuda" and not setting.quick:
        write(rows)


def measured(setting: Setting) -> Iterator[Row]:
    """Yield the rows of all sections that begin within the time limit."""
    began = time.perf_counter()
    for name, section in SECTIONS.items():
        for what, measure in section(setting):
            if time.perf_counter() - began > LIMIT_SECONDS:
                yield _printed(Row(name, what, "not measured: the time is over"))
                continue
            try:
                value = measure()
            except Exception as error:
                value = f"failed: {str(error).strip().splitlines()[0]}"
            yield _printed(Row(name, what, value))


def _printed(row: Row) -> Row:
    print(f"gpu: {row.section}: {row.what}: {row.value}", flush=True)
    return row


Measurements = Iterator[tuple[str, Callable[[], str]]]


def steps(setting: Setting) -> Measurements:
    """Yield the training steps against the originals' step and the roof of the device."""
    roofs = {precision: matmul_flops(setting, precision) for precision in PRECISIONS}

    def measure(network: str, size: int, precision: str) -> str:
        config = setting.config(network, size, precision)
        seconds = seconds_per_step(setting, config)
        share = flops_per_step(config) / seconds / roofs[precision]
        text = f"{1e3 * seconds:.1f} ms, {setting.batch / seconds:.0f} images/s"
        text += f", {100 * share:.0f} % of the speed of a matrix product"
        if precision == "float32":
            plain = seconds_per_plain_step(setting, config)
            text += f"; the plain step takes {1e3 * plain:.1f} ms, ratio {plain / seconds:.2f}"
        return text

    for size in setting.sizes:
        for network in NETWORKS:
            for precision in PRECISIONS:
                yield (
                    f"{network}, {size} px, {precision}",
                    partial(measure, network, size, precision),
                )


def compiled(setting: Setting) -> Measurements:
    """Yield steps of compiled networks; on a CPU their graphs run as they are."""
    size = setting.sizes[-1]

    def measure(network: str) -> str:
        config = setting.config(network, size, "bfloat16", compiled=setting.device != "cpu")
        began = time.perf_counter()
        seconds = seconds_per_step(setting, config)
        whole = time.perf_counter() - began
        return f"{1e3 * seconds:.1f} ms; {whole:.0f} s with the compilation"

    for network in NETWORKS:
        yield f"{network}, {size} px, bfloat16", partial(measure, network)


def waiting(setting: Setting) -> Measurements:
    """Yield the share of a step in which the device has nothing to do."""
    on_gpu = setting.device != "cpu"
    kind = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU

    def measure() -> str:
        stepper = Stepper(setting.state(setting.config("ensemdiff", setting.sizes[0], "bfloat16")))
        for _ in range(3):
            stepper.advance()
        setting.wait()
        with torch.profiler.profile(activities=[kind]) as profile:
            began = time.perf_counter()
            for _ in range(setting.steps):
                stepper.advance()
            setting.wait()
            wall = time.perf_counter() - began
        stepper.close()
        events: Any = profile.key_averages()
        times = [e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in events]
        return f"{100 * max(0.0, 1 - sum(times) / 1e6 / wall):.0f} %"

    yield f"ensemdiff, {setting.sizes[0]} px, bfloat16", measure


def sampling(setting: Setting) -> Measurements:
    """Yield the time of a sample per image, launched by kernels and as a graph, and of a case."""

    def measure(size: int) -> str:
        config = setting.config("ensemdiff", size, "bfloat16")
        state = setting.state(config)
        images = torch.randn(setting.batch, config.ports.image, size, size, device=setting.device)
        images = images.contiguous(memory_format=torch.channels_last)
        seeds = itertools.count()

        def sample(predict: Predict) -> str:
            def once() -> None:
                with torch.no_grad(), torch.autocast(setting.device, torch.bfloat16):
                    predict(images, list(itertools.islice(seeds, setting.batch)))

            return f"{1e3 * setting.seconds(once) / setting.batch:.1f} ms"

        mode, network, classes = config.mode, state.ema.eval(), config.classes
        found = sample(lambda x, s: mode.predict(network, x, classes, s, "none")) + " per image"
        if capturable(mode, setting.device):
            graph = CapturedSampling(mode, network, classes, "none")
            took = sample(graph)  # the calls before those measured capture and verify
            found += f", {took} as a graph" if graph.replays(images) else ", not captured"
        began = time.perf_counter()
        evaluate.score(state.run, state.ema)
        cases = (time.perf_counter() - began) / len(state.run.data.val)
        return f"{found}, {1e3 * cases:.1f} ms per validation case"

    for size in setting.sizes:
        yield f"ensemdiff, {size} px", partial(measure, size)


def checkpoints(setting: Setting) -> Measurements:
    """Yield the time in which training waits for the copy of a checkpoint, and the writing."""

    def measure() -> str:
        state = setting.state(setting.config("ensemdiff", setting.sizes[-1], "float32"))
        stepper = Stepper(state)
        stepper.advance()
        stepper.close()
        stall = setting.seconds(lambda: state.save("bench"))
        checkpoint = state.save("bench")
        with tempfile.TemporaryFile() as file:
            began = time.perf_counter()
            checkpoint.write(file)
            seconds = time.perf_counter() - began
            size = file.tell() / 2**20
        return f"{size:.0f} MiB: training waits {stall:.3f} s, the file takes {seconds:.2f} s"

    yield "ensemdiff", measure


def packed(setting: Setting) -> Measurements:
    """Yield the throughput of small trials that share the device."""
    for trials in (1, 2) if setting.quick else (1, 2, 4, 8):
        yield (
            f"{trials} trials",
            partial(lambda n: f"{_packed_rate(setting, n):.1f} steps/s together", trials),
        )


def fused(setting: Setting) -> Measurements:
    """Yield the gate for fused arms: one vmapped call against as many packed processes."""
    arms = 2 if setting.quick else ARMS

    def measure() -> str:
        config = setting.config("ensemdiff", setting.sizes[0], "float32")
        together = arms / fused_seconds(setting, config, arms)
        ratio = together / _packed_rate(setting, arms)
        return f"ratio {ratio:.2f} to packed processes (fused arms pay from 2)"

    yield f"{arms} arms", measure


def workers(setting: Setting) -> Measurements:
    """Yield the throughput of one training on one, and on all GPUs."""
    count = 1 if setting.device == "cpu" else torch.cuda.device_count()

    def measure(world: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(_worker, (world, setting, folder), nprocs=world)
            seconds = float(Path(f"{folder}/seconds").read_text(encoding="utf-8"))
        return f"{world * setting.batch / seconds:.0f} images/s"

    for world in sorted({1, count}):
        yield f"{world} workers", partial(measure, world)


def _worker(rank: int, world: int, setting: Setting, folder: str) -> None:
    """Run one worker of a training, with a whole batch of its own; rank 0 writes its seconds."""
    if setting.device != "cpu":
        torch.cuda.set_device(rank)
    store = dist.FileStore(f"{folder}/store", world)
    backend = "gloo" if setting.device == "cpu" else "nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    config = setting.config("ensemdiff", setting.sizes[-1], "bfloat16")
    state = setting.state(config)
    learner = torch.nn.parallel.DistributedDataParallel(state.network)
    from trainables.training.batch_queue import BatchQueue
    from trainables.training.step import step

    queue = BatchQueue(state.run)
    seconds = setting.seconds(lambda: step(state, learner, queue.take(state.step)))
    queue.close()
    if rank == 0:
        Path(f"{folder}/seconds").write_text(str(seconds), encoding="utf-8")
    dist.destroy_process_group()


def _packed_rate(setting: Setting, trials: int) -> float:
    """Return the steps per second of several processes together."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_trial, (trials, setting, folder), nprocs=trials)
        seconds = [float(Path(f"{folder}/{i}").read_text(encoding="utf-8")) for i in range(trials)]
    return sum(1 / each for each in seconds)


def _trial(rank: int, trials: int, setting: Setting, folder: str) -> None:
    """Run one of several packed trials, which begin their measurement together."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", trials)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=trials)
    stepper = Stepper(setting.state(setting.config("ensemdiff", setting.sizes[0], "float32")))
    stepper.advance()
    dist.barrier()
    seconds = setting.seconds(stepper.advance)
    stepper.close()
    Path(f"{folder}/{rank}").write_text(str(seconds), encoding="utf-8")
    dist.destroy_process_group()


SECTIONS: dict[str, Callable[[Setting], Measurements]] = {
    "step": steps,
    "device waits": waiting,
    "sampling": sampling,
    "checkpoint": checkpoints,
    "packed": packed,
    "fused arms": fused,
    "several GPUs": workers,
    "compiled step": compiled,
}


def write(rows: list[Row]) -> None:
    """Replace the table in the page about performance."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    before = PAGE.read_text(encoding="utf-8").partition(HEADING)[0]
    text = (
        f"{HEADING}\n{device_name('cuda')}, torch {torch.__version__},"
        f" {os.cpu_count()} CPUs, commit {commit or 'unknown'}.\n\n"
        f"| section | what | value |\n| --- | --- | --- |\n{table}\n"
    )
    PAGE.write_text(before + text, encoding="utf-8")
    print(f"gpu: wrote {PAGE}")
