"""Random draws that depend on their purpose only, not on the order in which they are made."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(*purpose: int | str) -> torch.Generator:
    """Return a CPU generator seeded by a purpose, such as (seed, step, "noise")."""
    digest = hashlib.sha256("/".join(map(str, purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def seed_torch(seed: int) -> None:
    """Seed torch's global generator."""
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]


def stratified(count: int, draws: torch.Generator) -> Tensor:
    """Return uniform draws in [0, 1), one in each of ``count`` strata, shuffled; float64."""
    inside = torch.rand(count, generator=draws, dtype=torch.float64)
    return ((torch.arange(count) + inside) / count)[torch.randperm(count, generator=draws)]


def hashed(seeds_B: Tensor, layer: int, count: int) -> Tensor:
    """Return uniform draws in [0, 1) that depend on (seed, layer, position): [B, count], float64.

    Uses the finaliser of SplitMix64 (Steele, Lea & Flood 2014) on a counter; int64 products wrap.
    """
    golden = -0x61C8864680B583EB
    counter = torch.arange(1, count + 1, device=seeds_B.device) + layer * 0x10000
    bits = seeds_B[:, None] + counter * golden
    bits = (bits ^ _shifted(bits, 30)) * -0x40A7B892E31B1A47
    bits = (bits ^ _shifted(bits, 27)) * -0x6B2FB644ECCEEE15
    bits = bits ^ _shifted(bits, 31)
    return _shifted(bits, 11).double() / 2**53


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift int64 logically to the right."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
