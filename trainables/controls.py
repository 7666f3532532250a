"""Controls: replacements of the image or the noisy mask that a network sees.

A result that is the same under a control does not depend on what the control removed. Shuffled
controls use the image or mask of another case.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

MaskControl = Literal["random_mask", "shuffled_mask"]
Control = Literal["none", "shuffled_image", "dropped_image", "random_mask", "shuffled_mask"]
MASK: tuple[MaskControl, ...] = ("random_mask", "shuffled_mask")


def image(control: Control, own: Tensor, other: Tensor) -> Tensor:
    """Return the image that the network sees."""
    if control == "shuffled_image":
        return other
    return torch.zeros_like(own) if control == "dropped_image" else own


def mask(control: Control, own: Tensor, other: Tensor, noise: Tensor) -> Tensor:
    """Return the noisy mask that the network sees; all three have the same noise level."""
    if control == "shuffled_mask":
        return other
    return noise if control == "random_mask" else own


def partner(index: int, count: int) -> int:
    """Return the partner of a case: half the list away, because neighbours are similar.

    Raises:
        ValueError: there is only one case.
    """
    if count < 2:
        raise ValueError(f"a shuffled control needs 2 cases or more, there are {count}")
    return (index + count // 2) % count
