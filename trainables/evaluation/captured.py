"""Sampling as one CUDA graph: the host launches a whole sample at once, not every kernel of it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.controls import Control
from trainables.models import Network
from trainables.modes import Mode, Prediction, SamplingMode
from trainables.runtime.memory import cache_held, is_out_of_memory
from trainables.samplers import Noise
from trainables.torch_calls import kept_on_device

TOLERANCE = 1e-5
"""The largest difference of a probability at which a replayed sample counts as the computed one."""
LONGEST = 100
"""The most passes of a sample that is captured: every kernel of it takes memory."""
MOST_NOISE = 256 << 20
"""The most bytes of noise of a sample that is captured: all of it is drawn before."""

Sample = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""From images and draws of noise to the members and, where there is one, the auxiliary output."""
Capture = Callable[[Sample, Sequence[Tensor]], Sample]
"""Returns a function that repeats what a sample computes, for other inputs of the same shapes."""


READ: Any = torch.ops.aten._local_scalar_dense.default  # pyright: ignore[reportPrivateUsage]
"""What ``item`` calls."""


class _Computed(NamedTuple):
    """The inputs and the outputs of a sample."""

    inputs: list[Tensor]
    outputs: tuple[Tensor, ...]


def capturable(mode: Mode, device: str) -> TypeGuard[SamplingMode]:
    """Whether the predictions of a mode are samples, of few enough passes, on a GPU of CUDA."""
    on_gpu = torch.device(device).type == "cuda"
    return on_gpu and isinstance(mode, SamplingMode) and mode.passes <= LONGEST * mode.ensemble


class CapturedSampling:
    """The predictions of one network, replayed from a captured graph.

    Batches are computed until two in a row have the same shape. Sampling is then captured with the
    inputs of the second, and replayed with those of the first: if that gives what was computed, all
    later batches of this shape are replayed. If it does not, or if the capture fails, a warning
    says so and all batches are computed. The network must not change in the meantime.
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
        self._gave_up = False
        self._before: _Computed | None = None
        self._shape: torch.Size | None = None
        self._graph: Sample | None = None
        self._draws = 0

    def replays(self, images_BCHW: Tensor) -> bool:
        """Whether a batch of this shape would be replayed."""
        return self._graph is not None and self._shape == images_BCHW.shape

    def __call__(self, images_BCHW: Tensor, seeds: Sequence[int]) -> Prediction:
        """Predict a batch of images as the mode does."""
        with _casts_not_kept():
            noise = self._noise(images_BCHW, seeds=seeds)
            if self._gave_up:
                return self._sampled(images_BCHW, noise)
            try:
                if self._graph is None or not self.replays(images_BCHW):
                    return self._computed(images_BCHW, noise)
                inputs = [images_BCHW, *(noise() for _ in range(self._draws))]
                members, *side = self._graph(inputs)
                return Prediction(members, side[0] if side else None)
            except (RuntimeError, MemoryError) as error:
                if self._graph is None or not is_out_of_memory(error):
                    raise
            # The graph may hold what is missing. Outside of the handler, whose traceback keeps
            # tensors:
            self._give_up()
            return self._sampled(images_BCHW, self._noise(images_BCHW, seeds=seeds))

    def _computed(self, images_BCHW: Tensor, noise: Noise) -> Prediction:
        """Compute a batch, and capture its sampling if the one before had the same shape."""
        drawn: list[Tensor] = []
        prediction = self._sampled(images_BCHW, lambda: self._kept(noise(), drawn))
        if self._gave_up:
            return prediction
        now = _Computed([images_BCHW, *drawn], _outputs(prediction))
        before, self._before = self._before, now
        if before is not None and before.inputs[0].shape == images_BCHW.shape:
            self._before = self._graph = None  # the memory of another graph is free for this one
            self._shape, self._draws = images_BCHW.shape, len(drawn)
            self._graph = self._verified(now.inputs, before)
        return prediction

    def _verified(self, inputs: list[Tensor], known: _Computed) -> Sample | None:
        """Return a captured sample that gives the known outputs; None if there is none."""
        try:
            graph = self._capture(self._sample, inputs)
            if all(map(_close, graph(known.inputs), known.outputs)):
                return graph
            reason = f"its probabilities differ by more than {TOLERANCE:g} from those computed"
        except (RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
        self._give_up()
        warnings.warn(f"Sampling is not replayed from a captured graph: {reason}.", stacklevel=5)
        return None

    def _sample(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        images, *draws = inputs
        noise = iter(draws)
        return _outputs(self._sampled(images, lambda: next(noise)))

    def _kept(self, noise: Tensor, drawn: list[Tensor]) -> Tensor:
        """Keep a draw of a sample; give up if there are too many of them."""
        drawn.append(noise)
        if self._gave_up or len(drawn) * noise.nbytes > MOST_NOISE:
            drawn.clear()
            self._give_up()
        return noise

    def _give_up(self) -> None:
        self._gave_up, self._graph, self._before = True, None, None


class CudaGraph:
    """A sample that is captured as a CUDA graph: it writes to the same memory at each call.

    Raises:
        RuntimeError: the sample waits for the device, copies from the host, or exhausts the memory.
    """

    def __init__(self, sample: Sample, inputs: Sequence[Tensor]) -> None:
        self._inputs = [x.clone() for x in inputs]
        self._device = inputs[0].device
        self._constants: dict[tuple[object, ...], Tensor] = {}
        # One capture in a process at a time: while it lasts no thread may empty the cache.
        with cache_held(), torch.cuda.device(self._device), kept_on_device(self._constants):
            before, apart = torch.cuda.current_stream(), torch.cuda.Stream()
            apart.wait_stream(before)
            with torch.cuda.stream(apart), OnDevice(self._device):
                sample(self._inputs)  # finds the constants, and what a graph cannot contain
            before.wait_stream(apart)
            self._graph = torch.cuda.CUDAGraph()
            try:
                # Other threads of the process copy checkpoints and batches meanwhile.
                capture = torch.cuda.graph(
                    self._graph, stream=apart, capture_error_mode="thread_local"
                )
                with capture:
                    self._outputs = sample(self._inputs)
            finally:
                torch.cuda.set_stream(before)  # a capture that fails does not go back to it

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return what the sample computes for other inputs of the same shapes."""
        with torch.cuda.device(self._device):
            for place, x in zip(self._inputs, inputs, strict=True):
                place.copy_(x, non_blocking=True)
            self._graph.replay()
            return tuple(x.clone() for x in self._outputs)


class OnDevice(TorchDispatchMode):
    """Refuses operations of this thread that bring what a device computed to the host."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._device = device

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given: list[Any] = tree_leaves((args, kwargs))
        if not any(isinstance(x, Tensor) and x.device == self._device for x in given):
            return func(*args, **(kwargs or {}))
        if func is READ:
            raise RuntimeError("the sample reads a number of the device")
        result = func(*args, **(kwargs or {}))
        made = next((x for x in tree_leaves(result) if isinstance(x, Tensor)), None)
        if made is not None and made.device != self._device:
            raise RuntimeError(f"the sample copies from the device ({func})")
        return result


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


def _outputs(prediction: Prediction) -> tuple[Tensor, ...]:
    members, side = prediction
    return (members,) if side is None else (members, side)
