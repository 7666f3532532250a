"""Sampling as one CUDA graph: the host launches a whole sample at once, not every kernel of it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor

from trainables.controls import Control
from trainables.models import Network
from trainables.modes import Mode, Prediction, SamplingMode
from trainables.samplers import Noise
from trainables.torch_calls import kept_on_device

TOLERANCE = 1e-5
"""The largest difference of a probability at which a replayed sample counts as the computed one:
the kernels are the same."""

LONGEST = 100
"""The most passes of a sample that is captured: every kernel of it takes memory."""

Sample = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""From images and draws of noise to the members and, where there is one, the auxiliary output."""

Capture = Callable[[Sample, Sequence[Tensor]], Sample]
"""Returns a function that repeats what a sample computes, for other inputs of the same shapes."""


def capturable(mode: Mode, device: str) -> TypeGuard[SamplingMode]:
    """Whether the predictions of a mode are samples, of few enough passes, on a GPU of CUDA."""
    on_gpu = torch.device(device).type == "cuda"
    return on_gpu and isinstance(mode, SamplingMode) and mode.passes <= LONGEST * mode.ensemble


class CapturedSampling:
    """The predictions of one network, replayed from a captured graph.

    Each number of images has a graph of its own. The first batch of a size is computed, and its
    sampling is captured. The second is both computed and replayed. If the two agree, all others are
    replayed; if they do not, or if the capture fails, a warning says so and all are computed. The
    network must not change in the meantime.
    """

    def __init__(
        self,
        mode: SamplingMode,
        network: Network,
        classes: int,
        control: Control,
        capture: Capture | None = None,
    ) -> None:
        def sampled(images_BCHW: Tensor, noise: Noise) -> Prediction:
            return mode.sampled(network, images_BCHW, classes, noise, control)

        self._sampled = sampled
        self._noise = partial(mode.noise, classes=classes)
        self._capture = capture or CudaGraph
        self._draws: int | None = None
        """How often a sample draws noise; unknown before the first one."""
        self._graphs: dict[tuple[int, ...], _Verified] = {}

    def __call__(self, images_BCHW: Tensor, seeds: Sequence[int]) -> Prediction:
        """Predict a batch of images as the mode does."""
        noise = self._noise(images_BCHW, seeds=seeds)
        if self._draws is None:
            drawn: list[Tensor] = []
            prediction = self._sampled(images_BCHW, lambda: _kept(noise(), drawn))
            self._draws = len(drawn)
            return prediction
        inputs = [images_BCHW, *(noise() for _ in range(self._draws))]
        shape = tuple(images_BCHW.shape)
        if shape not in self._graphs:
            self._graphs[shape] = _Verified(self._sample, self._capture)
        try:
            members, *side = self._graphs[shape](inputs)
        except RuntimeError:
            self._graphs.clear()  # they may hold the memory that was missing
            raise
        return Prediction(members, side[0] if side else None)

    def _sample(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        images, *draws = inputs
        noise = iter(draws)
        members, side = self._sampled(images, lambda: next(noise))
        return (members,) if side is None else (members, side)


class _Verified:
    """A sample that is computed until its captured form has given the same."""

    def __init__(self, sample: Sample, capture: Capture) -> None:
        self._sample, self._capture = sample, capture
        self._replay: Sample | None = None
        self._captures, self._agrees = True, False

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if self._replay is not None and self._agrees:
            return self._replay(inputs)
        computed = self._sample(inputs)
        if self._captures:
            self._advance(inputs, computed)
        return computed

    def _advance(self, inputs: Sequence[Tensor], computed: tuple[Tensor, ...]) -> None:
        """Capture the sample, or compare the captured one with what was computed."""
        try:
            if self._replay is None:
                self._replay = self._capture(self._sample, inputs)
                return
            replayed = self._replay(inputs)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            self._computes_from_now()
            warnings.warn(f"Sampling is not captured as a graph: {reason}", stacklevel=5)
            return
        self._agrees = all(map(_close, replayed, computed))
        if not self._agrees:
            self._computes_from_now()
            warnings.warn(
                "Sampling is not replayed from a captured graph: its probabilities differ by more"
                f" than {TOLERANCE:g} from those computed.",
                stacklevel=5,
            )

    def _computes_from_now(self) -> None:
        self._replay, self._captures = None, False


class CudaGraph:
    """A sample that is captured as a CUDA graph: it writes to the same memory at each call.

    Raises:
        RuntimeError: the sample waits for the device, copies from the host, or exhausts the memory.
    """

    def __init__(self, sample: Sample, inputs: Sequence[Tensor]) -> None:
        self._inputs = [x.clone() for x in inputs]
        self._constants: dict[tuple[object, ...], Tensor] = {}
        self._graph, apart = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with kept_on_device(self._constants), _casts_not_kept():
            apart.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(apart):  # libraries prepare their work before the capture
                sample(self._inputs)
            torch.cuda.current_stream().wait_stream(apart)
            # Other threads of the process copy checkpoints and batches meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._outputs = sample(self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return what the sample computes for other inputs of the same shapes."""
        for place, x in zip(self._inputs, inputs, strict=True):
            place.copy_(x, non_blocking=True)
        self._graph.replay()
        return tuple(x.clone() for x in self._outputs)


@contextlib.contextmanager
def _casts_not_kept() -> Generator[None]:
    """Cast weights anew in each layer: autocast would keep casts for less time than a graph."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _close(replayed: Tensor, computed: Tensor) -> bool:
    return torch.allclose(
        replayed.float(), computed.float(), rtol=0, atol=TOLERANCE, equal_nan=True
    )


def _kept(noise: Tensor, drawn: list[Tensor]) -> Tensor:
    drawn.append(noise)
    return noise
