"""Tensors in nested dicts and lists, such as the state dicts of a trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor


def map_tensors(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return nested dicts and lists with a function applied to each tensor, in order."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        items = cast("Mapping[Any, Any]", tree).items()
        return {key: map_tensors(value, function) for key, value in items}
    if isinstance(tree, list):
        return [map_tensors(value, function) for value in cast("list[Any]", tree)]
    return tree


def host_copy(tree: Any) -> Any:
    """Return nested state dicts with each tensor copied to the host.

    Tensors of a GPU are copied to pinned memory, all of them before the device is waited for once.
    """
    devices: set[torch.device] = set()

    def copied(x: Tensor) -> Tensor:
        on_gpu = x.device.type == "cuda"
        if on_gpu:
            devices.add(x.device)
        copy = torch.empty_like(x, device="cpu", pin_memory=on_gpu)
        return copy.copy_(x.detach(), non_blocking=on_gpu)

    copy = map_tensors(tree, copied)
    for device in devices:
        torch.cuda.synchronize(device)
    return copy
