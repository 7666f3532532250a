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


def hashed(seeds_B: Tensor, layer: int, count: int) -> Tensor:
    """Uniform draws in [0, 1) that depend on (seed, layer, position) alone: [B, count], float64.

    The finaliser of SplitMix64 (Steele, Lea & Flood 2014) on a counter; int64 products wrap.
    """
    golden = -0x61C8864680B583EB
    counter = torch.arange(1, count + 1, device=seeds_B.device) + layer * 0x10000
    bits = seeds_B[:, None] + counter * golden
    bits = (bits ^ _shifted(bits, 30)) * -0x40A7B892E31B1A47
    bits = (bits ^ _shifted(bits, 27)) * -0x6B2FB644ECCEEE15
    bits = bits ^ _shifted(bits, 31)
    return _shifted(bits, 11).double() / 2**53


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Logical right shift of int64."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
