"""Weights in a temporary file, which memory holds only while they are read."""

from __future__ import annotations

import math
import mmap
import tempfile
import weakref
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes; every tensor begins at a multiple of it."""


class _Place(NamedTuple):
    dtype: torch.dtype
    shape: torch.Size
    offset: int


class WeightsFile:
    """A state dict in an unnamed temporary file, which vanishes with the process.

    The tensors that :meth:`tensors` returns stay valid after the file is dropped for a newer one.

    Raises:
        OSError: the disk of the temporary directory is full or cannot be written.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        weakref.finalize(self, self._file.close)
        self._places: dict[str, _Place] = {}
        for name, x in state.items():
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._places[name] = _Place(x.dtype, x.shape, self._file.tell())
            flat = x.detach().cpu().contiguous().flatten()
            if flat.numel():
                self._file.write(flat.view(torch.uint8).numpy().data)
        self._file.flush()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state dict, mapped from the file: pages are read when they are used."""
        size = self._file.seek(0, 2)
        mapped = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_COPY) if size else b""
        return {name: _tensor(mapped, place) for name, place in self._places.items()}


def _tensor(mapped: mmap.mmap | bytes, place: _Place) -> Tensor:
    count = math.prod(place.shape)
    if count == 0:
        return torch.empty(place.shape, dtype=place.dtype)
    flat = torch.frombuffer(mapped, dtype=place.dtype, count=count, offset=place.offset)
    return flat.view(place.shape)
