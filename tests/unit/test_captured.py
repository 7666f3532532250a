"""Samples of a captured graph are those that a mode computes, and a wrong graph is not used."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from tests.unit.test_device_waits import MODES
from trainables.config import Config
from trainables.evaluation import captured
from trainables.evaluation.captured import (
    Capture,
    CapturedSampling,
    OnDevice,
    Sample,
    capturable,
)
from trainables.models import Features, Network, Output, Ports
from trainables.modes import SamplingMode
from trainables.runtime.seeding import seed_torch
from trainables.torch_calls import kept_on_device, sent

SAMPLERS: dict[str, dict[str, Any]] = {
    **MODES,
    "members": {"members": 3, "sampler": {"ddim": {"steps": 3, "eta": 1.0}}},
    "sample_evidence": {"sample_evidence": True},
    "range_of_times": {"t_low": 0.1, "t_high": 0.8},
}


class Traced:
    """A captured sample: torch records its operators, with all else that it computes as constants.

    So does a CUDA graph, which records kernels and needs a GPU.
    """

    def __init__(self, sample: Sample, inputs: Sequence[Tensor]) -> None:
        self.replays = 0
        self._graph: Callable[..., tuple[Tensor, ...]] = make_fx(lambda *x: sample(x))(*inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self.replays += 1
        return self._graph(*inputs)


def kept_in(graphs: list[Traced]) -> Capture:
    """Return a capture that adds its graphs to a list."""

    def capture(sample: Sample, inputs: Sequence[Tensor]) -> Traced:
        graphs.append(Traced(sample, inputs))
        return graphs[-1]

    return capture


class Dense(Network):
    """One convolution of all inputs, of which every output depends on each."""

    def __init__(self, ports: Ports) -> None:
        super().__init__()
        inputs = ports.mask + ports.image + 1
        self.main = torch.nn.Conv2d(inputs, ports.out, 3, padding=1)
        self.side = torch.nn.Conv2d(ports.image, ports.classes, 3, padding=1)

    def features(self, image_BCHW: Tensor) -> Features:
        return (self.side(image_BCHW),)

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        time = t_B.float()[:, None, None, None].expand_as(image_BCHW[:, :1])
        (side,) = self.features(image_BCHW) if features is None else features
        return Output(self.main(torch.cat([mask_BMHW, image_BCHW, time], 1)), side)


def parts(config: Config) -> tuple[SamplingMode, Network]:
    seed_torch(0)
    mode = config.mode
    assert isinstance(mode, SamplingMode)
    return mode, Dense(mode.ports(config.task.channels, config.classes)).eval()


def batches(config: Config, count: int = 5) -> list[tuple[Tensor, list[int]]]:
    side = config.task.size
    return [
        (torch.randn(2, config.task.channels, side, side), [2 * i, 2 * i + 1]) for i in range(count)
    ]


@pytest.mark.parametrize("name", SAMPLERS)
@torch.no_grad()
def test_a_replayed_sample_is_the_computed_one(small: Callable[..., Config], name: str) -> None:
    config = small(mode={"diffusion": {"sampler": {"ddim": {"steps": 3}}, **SAMPLERS[name]}})
    mode, network = parts(config)
    graphs = list[Traced]()
    sampling = CapturedSampling(mode, network, config.classes, "none", kept_in(graphs))
    for images, seeds in batches(config):
        found = sampling(images, seeds)
        wanted = mode.predict(network, images, config.classes, seeds, "none")
        torch.testing.assert_close(found.members, wanted.members)
        assert (found.auxiliary is None) == (wanted.auxiliary is None)
        if found.auxiliary is not None and wanted.auxiliary is not None:
            torch.testing.assert_close(found.auxiliary, wanted.auxiliary)
    (graph,) = graphs
    assert graph.replays == 4, "the first batch again, and all after the second"


@torch.no_grad()
def test_batches_are_captured_where_two_in_a_row_have_the_same_shape(
    small: Callable[..., Config],
) -> None:
    config = small()
    mode, network = parts(config)
    graphs = list[Traced]()
    sampling = CapturedSampling(mode, network, config.classes, "none", kept_in(graphs))
    images = batches(config, 1)[0][0]
    for count in (2, 1, 2, 1, 1, 1, 2, 2):
        found = sampling(images[:count], [1, 2][:count]).members
        wanted = mode.predict(network, images[:count], config.classes, [1, 2][:count], "none")
        torch.testing.assert_close(found, wanted.members)
    assert [graph.replays for graph in graphs] == [2, 1]
    assert sampling.replays(images)
    assert not sampling.replays(images[:1]), "its graph has made room"


@torch.no_grad()
def test_a_graph_is_freed_with_the_evaluation(small: Callable[..., Config]) -> None:
    config = small()
    mode, network = parts(config)
    graphs = list[Traced]()
    sampling = CapturedSampling(mode, network, config.classes, "none", kept_in(graphs))
    for images, seeds in batches(config, 3):
        sampling(images, seeds)
    alive = [weakref.ref(graphs.pop()), weakref.ref(sampling)]
    gc.disable()
    try:
        del sampling
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


@torch.no_grad()
def test_a_replay_without_memory_is_computed(small: Callable[..., Config]) -> None:
    config = small(mode={"diffusion": {"sampler": {"ddpm": {"steps": 3}}}})
    mode, network = parts(config)
    calls: list[int] = []

    def capture(sample: Sample, inputs: Sequence[Tensor]) -> Sample:
        def replay(later: Sequence[Tensor]) -> tuple[Tensor, ...]:
            calls.append(len(calls))
            if len(calls) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return sample(later)

        return replay

    sampling = CapturedSampling(mode, network, config.classes, "none", capture)
    for images, seeds in batches(config):
        wanted = mode.predict(network, images, config.classes, seeds, "none")
        assert torch.equal(sampling(images, seeds).members, wanted.members)
    assert calls == [0, 1, 2]


@torch.no_grad()
def test_a_batch_without_memory_beside_a_graph_is_computed_without_it(
    small: Callable[..., Config],
) -> None:
    config = small()
    mode, network = parts(config)
    graphs = list[Traced]()
    sampling = CapturedSampling(mode, network, config.classes, "none", kept_in(graphs))
    images = batches(config, 1)[0][0]
    for _ in range(3):
        sampling(images, [1, 2])
    refusals: list[int] = []

    def refuse(_: object, inputs: tuple[Tensor, ...]) -> None:
        if sampling.replays(images):  # the graph holds the memory
            refusals.append(len(inputs[0]))
            raise torch.OutOfMemoryError("CUDA out of memory")

    network.register_forward_pre_hook(refuse)
    found = sampling(images[:1], [1])
    assert refusals == [1]
    wanted = mode.predict(network, images[:1], config.classes, [1], "none")
    assert torch.equal(found.members, wanted.members)


@torch.no_grad()
def test_noise_that_would_fill_the_memory_is_not_kept(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(mode={"diffusion": {"sampler": {"ddpm": {"steps": 3}}}})
    mode, network = parts(config)
    graphs = list[Traced]()
    sampling = CapturedSampling(mode, network, config.classes, "none", kept_in(graphs))
    draw = mode.noise(batches(config, 1)[0][0], config.classes, [0, 1])()
    monkeypatch.setattr(captured, "MOST_NOISE", 2 * draw.nbytes)
    for images, seeds in batches(config):
        wanted = mode.predict(network, images, config.classes, seeds, "none")
        assert torch.equal(sampling(images, seeds).members, wanted.members)
    assert not graphs


def repeats_its_draws(sample: Sample, inputs: Sequence[Tensor]) -> Sample:
    """Capture the draws of the first batch as constants, as a wrong graph would."""
    return lambda later: sample([later[0], *inputs[1:]])


def cannot_capture(sample: Sample, inputs: Sequence[Tensor]) -> Sample:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize(
    ("capture", "reason"),
    [(repeats_its_draws, "differ by more than 1e-05"), (cannot_capture, "not permitted")],
)
@torch.no_grad()
def test_a_graph_that_is_wrong_or_impossible_is_named_once_and_not_used(
    small: Callable[..., Config], capture: Capture, reason: str
) -> None:
    config = small(mode={"diffusion": {"sampler": {"ddpm": {"steps": 3}}}})
    mode, network = parts(config)
    sampling = CapturedSampling(mode, network, config.classes, "none", capture)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        for images, seeds in batches(config):
            wanted = mode.predict(network, images, config.classes, seeds, "none")
            assert torch.equal(sampling(images, seeds).members, wanted.members)
    (warning,) = raised
    assert reason in str(warning.message)


def test_samples_of_few_passes_on_a_gpu_are_captured(small: Callable[..., Config]) -> None:
    few = small(mode={"diffusion": {"sampler": {"ddim": {"steps": 100}}, "members": 4}}).mode
    many = small(mode={"diffusion": {"sampler": {"ddpm": {"steps": 101}}}}).mode
    assert capturable(few, "cuda:0")
    assert not capturable(few, "cpu")
    assert not capturable(many, "cuda:0")
    assert not capturable(small(mode="feedforward").mode, "cuda:0")


def test_equal_values_of_the_host_are_sent_once() -> None:
    kept: dict[tuple[object, ...], Tensor] = {}
    device = torch.device("meta")
    with kept_on_device(kept):
        first = sent(torch.tensor([0.5]), device)
        assert sent(torch.tensor([0.5]), device) is first
        assert sent(torch.tensor([0.25]), device) is not first
        assert sent(torch.tensor([0.5], dtype=torch.float64), device).dtype == torch.float64
    assert len(kept) == 3
    assert sent(torch.tensor([0.5]), device) is not first


def moved(x: Tensor) -> Tensor:
    return x.to("meta")


@pytest.mark.parametrize("read", [Tensor.item, float, moved])
def test_a_sample_that_leaves_its_device_is_refused(read: Callable[[Tensor], object]) -> None:
    with OnDevice(torch.device("cpu")):
        x = torch.ones(1) + 1
        with pytest.raises(RuntimeError, match="the sample (reads|copies)"):
            read(x)


@pytest.mark.parametrize("name", SAMPLERS)
@torch.no_grad()
def test_no_sample_leaves_its_device(small: Callable[..., Config], name: str) -> None:
    config = small(mode={"diffusion": SAMPLERS[name]})
    mode, _ = parts(config)
    network = Dense(mode.ports(config.task.channels, config.classes)).to("meta")
    images = batches(config, 1)[0][0].to("meta")
    draws = mode.noise(images, config.classes, [1, 2])
    with OnDevice(torch.device("meta")):
        mode.sampled(network, images, config.classes, draws, "none")
