"""Predictions that exhaust the memory are split, and are the same however they are split."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.config import Config
from trainables.data import prepare
from trainables.evaluation import predict, probe
from trainables.evaluation.pass_size import PassSize, grown
from trainables.models import Features, Network, Output
from trainables.run import Run
from trainables.runtime.memory import (
    DeviceUse,
    is_out_of_memory,
    limit_memory,
    peak_device,
    reset_peak_memory,
)
from trainables.runtime.worker_context import WorkerContext
from trainables.training.state import State

PETABYTE = 2**50
KEY = ("case", "axis", "control", "low")


class Limited(Network):
    """A network on a machine with memory for so many images at once."""

    def __init__(self, network: Network, limit: int) -> None:
        super().__init__()
        self.network, self.limit, self.sizes = network, limit, list[int]()

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        self.sizes.append(len(image_BCHW))
        if len(image_BCHW) > self.limit:
            torch.empty(PETABYTE)
        return self.network(mask_BMHW, t_B, image_BCHW, features)

    def features(self, image_BCHW: Tensor) -> Features:
        return self.network.features(image_BCHW)


def limited(run: Run, limit: int) -> Limited:
    network = State(run).best
    torch.nn.init.normal_(next(reversed(list(network.parameters()))), generator=torch.Generator())
    return Limited(network, limit)


@pytest.fixture
def run(small: Callable[..., Config]) -> Run:
    config = small(
        task={"synthetic": {"size": 16, "cases": 12}},
        mode={"diffusion": {"members": 2, "sampler": {"ddim": {"steps": 2}}}},
        probe={"bins": 3, "draws": 1},
    )
    return Run(config, WorkerContext(), prepare(config.task, "tiles"))


def sample(run: Run, network: Network, cases: Sequence[int]) -> Tensor:
    found = predict.predictions(run, network, run.data.train, cases)
    return torch.cat([p.members for _, p in found])


@pytest.mark.parametrize("limit", [2, 4, 5, 7])
def test_predictions_do_not_depend_on_how_they_are_split(run: Run, limit: int) -> None:
    cases = range(min(5, len(run.data.train)))
    network = limited(run, limit)
    split, whole = sample(run, network, cases), sample(run, limited(run, 100), cases)
    torch.testing.assert_close(split, whole, rtol=1e-5, atol=1e-6)
    assert max(network.sizes) > limit, "it was out of memory"
    too_large = [size for size in network.sizes if size > limit]
    assert len(too_large) <= 3, "what did not fit is not tried again"


def test_the_probe_does_not_depend_on_how_it_is_split(run: Run) -> None:
    gc.freeze()  # what tests before this one left is not searched for garbage at each split
    network = limited(run, 1)
    split, whole = probe.measure(run, network), probe.measure(run, limited(run, 100))
    assert len(split) == len(whole) > 0
    for one, other in zip(split, whole, strict=True):
        assert one["x0_error_sum"] == pytest.approx(other["x0_error_sum"], rel=1e-4)
        assert [one[k] for k in KEY] == [other[k] for k in KEY]
    assert max(network.sizes) == 3


def test_an_image_that_does_not_fit_alone_raises_the_error(run: Run) -> None:
    with pytest.raises(RuntimeError, match="allocate memory") as raised:
        sample(run, limited(run, 1), [0])  # two members of one image share a pass
    assert is_out_of_memory(raised.value)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    calls: list[slice] = []

    def fail(part: slice) -> int:
        calls.append(part)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(PassSize(4, 8).passes(8, fail))
    assert calls == [slice(0, 4)]


@pytest.mark.parametrize(("images", "limit"), [(1, 1), (7, 3), (8, 8), (9, 4), (5, 1)])
def test_every_image_is_predicted_once_and_in_order(images: int, limit: int) -> None:
    def numbers(part: slice) -> range:
        if part.stop - part.start > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return range(part.start, part.stop)

    size = PassSize(64, images)
    assert [i for part in size.passes(images, numbers) for i in part] == list(range(images))


class Device:
    """The memory of a GPU, as torch reports it, of which each image of a pass takes so much."""

    def __init__(self, total: int, held: int, per_image: int) -> None:
        self.total, self.held, self.per_image = total, held, per_image
        self.peak, self.passes, self.share = held, list[int](), 1.0

    def predict(self, part: slice) -> range:
        images = part.stop - part.start
        self.passes.append(images)
        if self.held + images * self.per_image > self.share * self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = max(self.peak, self.held + images * self.per_image)
        return range(part.start, part.stop)

    def limit(self, share: float, device: str | None) -> None:
        assert device is None or torch.device(device).index is not None, "torch needs an index"
        self.share = share

    def forget_peak(self, _: object) -> None:
        self.peak = self.held


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Device]:
    """A GPU with ``total`` bytes, of which the weights of a trial hold some."""

    def make(total: int, held: int, per_image: int) -> Device:
        gpu = Device(total, held, per_image)
        for name, call in {
            "reset_peak_memory_stats": gpu.forget_peak,
            "memory_allocated": lambda _: gpu.held,
            "memory_reserved": lambda _: gpu.held,
            "max_memory_allocated": lambda _: gpu.peak,
            "mem_get_info": lambda _: (gpu.total - gpu.held, gpu.total),
            "set_per_process_memory_fraction": gpu.limit,
        }.items():
            monkeypatch.setattr(torch.cuda, name, call)
        reset_peak_memory("cuda")
        return gpu

    return make


@pytest.mark.parametrize(
    ("total", "share", "passes"),
    [
        (10_200, 1.0, [4, 50, 46]),  # half of 10,000 free bytes, 100 bytes an image
        (10_200, 0.25, [4, 11, *[11] * 7, 8]),  # of 2550 bytes, 200 are taken
        (700, 1.0, [4] * 25),  # half of the free memory is less than a pass takes
        (100_200, 1.0, [4, 64, 32]),  # sixteen times as many at most
        (500, 1.0, [4, 2, *[2] * 49]),  # a pass exhausted the memory
    ],
)
def test_a_pass_on_a_gpu_grows_once_to_half_of_what_is_free(
    device: Callable[..., Device], total: int, share: float, passes: list[int]
) -> None:
    gpu = device(total, held=200, per_image=100)
    size = PassSize(4, 100, WorkerContext(device="cuda", gpu_share=share))
    assert [i for part in size.passes(100, gpu.predict) for i in part] == list(range(100))
    assert gpu.passes == passes


def test_a_trial_that_shares_a_gpu_splits_its_passes_and_takes_nothing_of_other_trials(
    device: Callable[..., Device],
) -> None:
    gpu = device(1_000, held=200, per_image=100)
    limit_memory("cuda", 0.5)
    size = PassSize(4, 100, WorkerContext(device="cuda", gpu_share=0.5))
    assert [i for part in size.passes(10, gpu.predict) for i in part] == list(range(10))
    assert gpu.passes == [4, 2, 2, 2, 2, 2]
    assert gpu.peak <= 500


def test_the_peak_of_a_trial_is_that_of_its_largest_work(device: Callable[..., Device]) -> None:
    """The number of images is found by measuring one pass, after a training that took more."""
    gpu = device(10_200, held=200, per_image=100)
    gpu.peak = 9_000
    list(PassSize(4, 100, WorkerContext(device="cuda")).passes(4, gpu.predict))
    assert gpu.peak == 600
    assert peak_device("cuda") == 9_000
    reset_peak_memory("cuda")
    assert peak_device("cuda") == 200


@given(
    count=st.integers(1, 64),
    most=st.integers(1, 10_000),
    images=st.integers(1, 64),
    used=st.integers(-1, 10**12),
    free=st.integers(-1, 10**12),
)
def test_a_grown_pass_takes_no_more_than_is_there(
    count: int, most: int, images: int, used: int, free: int
) -> None:
    after = grown(count, most, images, DeviceUse(used, free))
    assert after >= count
    if used <= 0 or free <= 0:
        assert after == count
    elif after > count:
        assert after <= most
        assert after * used <= images * free / 2 * (1 + 1e-9)
