"""Random draws that depend on what they are for, and on nothing else."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(*words: int | str) -> torch.Generator:
    """A CPU generator seeded by the words: the same words give the same draws everywhere."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def stratified(count: int, draws: torch.Generator) -> Tensor:
    """``count`` uniform draws in [0, 1), one in each of as many strata, shuffled; float64."""
    inside = torch.rand(count, generator=draws, dtype=torch.float64)
    return ((torch.arange(count) + inside) / count)[torch.randperm(count, generator=draws)]
