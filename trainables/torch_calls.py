"""Typed wrappers of torch functions that torch leaves unannotated."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

CPU = torch.device("cpu")


def from_array(values: NDArray[Any]) -> Tensor:
    """Return a tensor that shares the memory of an array."""
    return torch.from_numpy(values)


def ints(values_N: Tensor) -> list[int]:
    """Return an integer vector as a list."""
    return values_N.tolist()


def distinct(values_N: Tensor) -> list[int]:
    """Return the distinct values of an integer vector, ascending."""
    return torch.unique(values_N).tolist()


def floats(values_N: Tensor) -> list[float]:
    """Return a vector as a list of numbers."""
    return values_N.tolist()


def unflattened(x: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """Return a tensor with one axis split into several."""
    return x.unflatten(axis, sizes)


def normal_cdf(x: Tensor) -> Tensor:
    """Return Φ(x), the distribution function of the standard normal."""
    return torch.special.ndtr(x)


def normal_quantile(p: Tensor) -> Tensor:
    """Return Φ⁻¹(p), the quantile function of the standard normal."""
    return torch.special.ndtri(p)


_kept: ContextVar[dict[tuple[object, ...], Tensor] | None] = ContextVar("kept", default=None)
"""The tensors that :func:`kept_on_device` holds, by what :func:`sent` was given."""


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return a small tensor of the CPU on a device, without waiting for what the device does.

    A copy from memory that is not pinned may wait. The result must not be written to.
    """
    kept = _kept.get()
    if kept is None:
        return _copied(x, device)
    key = (device, x.dtype, tuple(x.shape), x.numpy().tobytes())
    if key not in kept:
        kept[key] = _copied(x, device)
    return kept[key]


@contextlib.contextmanager
def kept_on_device(tensors: dict[tuple[object, ...], Tensor]) -> Generator[None]:
    """Make :func:`sent` copy equal tensors once, and keep the copies in a dictionary.

    A captured graph reads them at their place in the memory of the device for as long as it lives,
    and a copy from the host cannot be part of it.
    """
    token = _kept.set(tensors)
    try:
        yield
    finally:
        _kept.reset(token)


def _copied(x: Tensor, device: torch.device) -> Tensor:
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    if on_gpu and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("the sample sends a value that its run before the capture did not send")
    return (x.pin_memory() if on_gpu else x).to(device, non_blocking=True)
