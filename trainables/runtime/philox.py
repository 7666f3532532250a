"""Normal draws of a counter-based generator, the same on every device to rounding.

Each draw is a function of its key and counter alone, so that a worker makes the draws of its own
images only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.torch_calls import sent

ROUNDS = 10
FACTORS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
"""The constants of Philox4x32 (Salmon et al. 2011, table 2 and section 3.3)."""
LOW = 0xFFFFFFFF
"""The lower 32 bits of an int64."""

Words = tuple[Tensor, Tensor, Tensor, Tensor]
"""Four words of 32 bits, each in int64 tensors of one shape."""


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Return Philox4x32-10 of a counter under a key of two words of 32 bits.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". Products wrap modulo 2⁶⁴, so
    that their bits are those of unsigned words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = c0 * FACTORS[0], c2 * FACTORS[1]
        c0, c1, c2, c3 = (
            _high(second) ^ c1 ^ k0,
            second & LOW,
            _high(first) ^ c3 ^ k1,
            first & LOW,
        )
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return c0, c1, c2, c3


def normal(
    seed: int, step: int, purpose: int, places: Sequence[int], shape: Sequence[int], device: str
) -> Tensor:
    """Return standard normal draws, one of ``shape`` for each place in a batch: float32 [B, ...].

    The counter is (element, place, step, purpose), so a draw depends neither on the other places
    nor on the number of workers. Box & Muller 1958 turn two words into two draws.
    """
    count = math.prod(shape)
    block = torch.arange(-(-count // 4), device=device)
    place = sent(torch.tensor(places), torch.device(device))[:, None]
    zero = torch.zeros((len(places), len(block)), dtype=torch.int64, device=device)
    words = philox(
        (zero + block, zero + place, zero + (step & LOW), zero + purpose),
        (seed & LOW, seed >> 32 & LOW),
    )
    draws = torch.stack([*_box_muller(*words[:2]), *_box_muller(*words[2:])], 2)
    return draws.flatten(1)[:, :count].reshape(len(places), *shape)


def _box_muller(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two independent standard normal draws from two words of 32 bits, float32."""
    radius = ((first + 1).float() * 2.0**-32).log().mul(-2).sqrt()
    angle = second.float() * (2 * math.pi * 2.0**-32)
    return radius * angle.cos(), radius * angle.sin()


def _high(product: Tensor) -> Tensor:
    """Return the upper 32 bits of an unsigned product of 64 bits."""
    return product >> 32 & LOW
