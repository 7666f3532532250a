"""The estimated memory of a trial is what a run measures, and what cannot fit is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.device_memory import NodeMemory
from orchestrator.planning.memory_estimate import AllocationMeter, memory_need, surely_fits
from orchestrator.planning.memory_fit import too_large
from orchestrator.planning.plan import make_plan
from search_spaces import Space
from tests.conftest import ROOT, SMALL
from trainables.config import Config, parse
from trainables.modes.diffusion import Diffusion
from trainables.schedules.linear import Linear

GIB = 2**30
UNET = {"channels": 16, "multipliers": [1, 2], "blocks": 1, "attention": [2]}
DENSE = {"dense_blocks": 1, "dense_features": 16, "dense_growth": 8}
TRAIN = {"steps": 2, "batch": 8, "validate_every": 2}
WIDE = {"channels": 64, "multipliers": [1, 4], "blocks": 1, "attention": []}
MEASURED: dict[str, dict[str, Any]] = {
    "activations": {**SMALL, "model": {"ensemdiff": UNET}, "train": TRAIN},
    "a dense encoder in parts": {
        **SMALL,
        "model": {"segdiff": {**UNET, "heads": 2, **DENSE}},
        "train": {**TRAIN, "accumulate": 2},
    },
    "weights": {
        **{**SMALL, "model": {"ensemdiff": WIDE}, "mode": "feedforward"},
        "train": {**TRAIN, "batch": 2},
    },
}
SIZES = {"activations": 48, "a dense encoder in parts": 48, "weights": 16}
RUN = """
import gc, json, sys, tempfile
import torch
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.storage.object_store import Store
from trainables.config import parse
from trainables.data import prepared
from trainables.runtime.memory import peak_host, reset_peak_memory
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt, outcome_of

def run(config):
    with tempfile.TemporaryDirectory() as folder:
        sink = LedgerSink(Ledger(Store(folder)), "code")
        assert outcome_of(attempt(config, sink, WorkerContext())) == "finished"

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

torch.set_num_threads(1)
first, *configs = map(parse, json.load(sys.stdin))
run(first)  # libraries and thread pools are loaded
for config in configs:
    prepared(config)
    gc.collect()
    before = resident()
    reset_peak_memory("cpu")
    run(config)
    print(peak_host() - before)
"""


def sized(spec: dict[str, Any], size: int) -> dict[str, Any]:
    return {**spec, "task": {"synthetic": {"size": size, "cases": 4}}}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_the_estimate_is_the_growth_of_a_process_that_trains_within_15_percent() -> None:
    specs = [sized(spec, SIZES[name]) for name, spec in MEASURED.items()]
    result = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([SMALL, *specs]),
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
        cwd=ROOT,
        # Freed memory is returned at once, so that the peak is that of tensors alive together.
        env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    for spec, measured in zip(specs, map(int, result.stdout.split()), strict=True):
        need = memory_need(parse(spec), 1, "cpu")
        assert need is not None
        assert need.most == pytest.approx(measured, rel=0.15), (spec, need)


def test_the_meter_counts_what_backward_keeps_and_what_lives_at_once() -> None:
    """Of x → sigmoid → exp, the backward pass keeps both results, and a gradient is as large."""
    size = 4 * 1024 * 1024
    with FakeTensorMode(), AllocationMeter() as meter:
        x = nn.Parameter(torch.empty(1024, 1024))

        def work() -> None:
            x.sigmoid().exp().sum().backward()  # pyright: ignore[reportUnknownMemberType]

        assert meter.now == size
        peak = meter.peak_of(work)
        assert meter.now == 2 * size, "x and its gradient"
    assert 4 * size <= peak <= 5 * size + 4096, "x, two results, one or two gradients"


def test_a_run_of_many_gigabytes_is_estimated_without_them(small: Callable[..., Config]) -> None:
    """Twice the batch keeps twice the activations; two workers share them and add no copies."""
    model = {"ensemdiff": {"channels": 128, "multipliers": [1, 2], "blocks": 1, "attention": []}}
    task = {"synthetic": {"size": 512, "cases": 4}}
    one, two, four = (
        small(model=model, task=task, train={**TRAIN, "batch": batch}) for batch in (1, 2, 4)
    )
    needs = [memory_need(config, 1, "cpu") for config in (one, two, four)]
    first, second, third = (need.training if need else 0 for need in needs)
    assert third > 20 * GIB, "with attention over 65,536 positions"
    assert third - second == pytest.approx(2 * (second - first), rel=0.01)
    shared = memory_need(four, 2, "cpu")
    assert shared is not None
    assert shared.training == pytest.approx(second, rel=0.001)
    split = memory_need(four, 1, "cpu", split=True)
    assert split is not None
    assert first < split.training < 1.1 * first, "with the gradients of the images before"
    assert not surely_fits(four, 20 * GIB)
    assert surely_fits(small(), GIB)


def test_an_estimate_leaves_nothing_without_data_behind(small: Callable[..., Config]) -> None:
    config = small(mode={"diffusion": {"schedule": "linear"}})
    assert memory_need(config, 1, "cpu") is not None
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert isinstance(config.mode, Diffusion)
    assert config.mode.log_snr(times).tolist() == Linear().log_snr(times).tolist()


NETWORK = {"ensemdiff": {"channels": 64, "multipliers": [1, 2], "blocks": 1, "attention": []}}
LARGE = sized({**SMALL, "model": NETWORK, "train": {**TRAIN, "batch": 4}}, 256)


def refusals(ledger: Ledger, *nodes: NodeMemory, **changes: Any) -> list[str]:
    space = Space(question="?", config=LARGE, arms={"a": {"mode": "diffusion"}}, **changes)
    return list(too_large(make_plan("s", space, ledger), nodes))


def test_what_cannot_fit_even_split_is_refused_with_the_share_the_rule_and_the_choices(
    ledger: Ledger,
) -> None:
    whole = memory_need(parse(LARGE), 1, "cpu")
    split = memory_need(parse(LARGE), 1, "cpu", split=True)
    assert whole is not None
    assert split is not None
    assert split.most < 0.5 * whole.most
    enough, little = int(1.1 * split.most), int(0.9 * split.most)
    assert refusals(ledger, NodeMemory(1, 0, enough)) == [], "an out-of-memory error splits batches"
    (line,) = refusals(ledger, NodeMemory(1, 0, little))
    assert "even with one image at a time" in line
    assert "(Space.cpus=1): choose a larger cpus" in line
    assert refusals(ledger, NodeMemory(1, 0, little), NodeMemory(1, 0, enough)) == []
    assert refusals(ledger, NodeMemory(2, 0, 2 * enough), replicates=2) == []
    assert len(refusals(ledger, NodeMemory(2, 0, enough), replicates=2)) == 1, "two share it"
    assert refusals(ledger, NodeMemory(2, 0, enough), replicates=1) == [], "the only trial has all"
    assert refusals(ledger, NodeMemory(2, 0, enough), replicates=2, cpus=2) == []
    assert len(refusals(ledger, NodeMemory(2, 0, enough), workers=2)) == 1
    assert refusals(ledger, NodeMemory(1, 0, None)) == [], "a size that is not known refuses none"


def test_a_share_of_a_gpu_counts(ledger: Ledger) -> None:
    split = memory_need(parse(LARGE), 1, "cuda", split=True)
    assert split is not None
    assert split.saving == 0, "the copies of a GPU's tensors are on the host"
    gpu = int(2.5 * split.most)
    assert refusals(ledger, NodeMemory(8, 1, 0, gpu), gpus=0.5) == []
    (line,) = refusals(ledger, NodeMemory(8, 1, 0, gpu), gpus=0.25)
    assert "share of the GPU" in line
    assert "(Space.gpus=0.25): choose a larger gpus" in line


def test_batches_of_a_network_that_normalises_over_them_are_not_split(
    small: Callable[..., Config],
) -> None:
    config = small(model={"medsegdiff_v1": {**UNET, "map_size": 16}}, train={**TRAIN, "batch": 4})
    whole, split = (memory_need(config, 1, "cpu", split=s) for s in (False, True))
    assert whole is not None
    assert split is not None
    assert split.training == whole.training
