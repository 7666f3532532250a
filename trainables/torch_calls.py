"""Typed wrappers of torch functions that torch leaves unannotated."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

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


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return a small tensor of the CPU on a device, without waiting for what the device does.

    A copy from memory that is not pinned may wait.
    """
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    return (x.pin_memory() if on_gpu else x).to(device, non_blocking=True)
