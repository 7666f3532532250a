"""Controls: what a network is shown in place of the image, or of the noisy mask.

A result that survives a control does not come from what the control took away. Shuffled means
another case's.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

ImageControl = Literal["shuffled_image", "dropped_image"]
MaskControl = Literal["random_mask", "shuffled_mask"]
Control = Literal["none", "shuffled_image", "dropped_image", "random_mask", "shuffled_mask"]
MASK: tuple[MaskControl, ...] = ("random_mask", "shuffled_mask")


def image(control: Control, own: Tensor, other: Tensor) -> Tensor:
    """The image that the network sees."""
    if control == "shuffled_image":
        return other
    return torch.zeros_like(own) if control == "dropped_image" else own


def mask(control: Control, own: Tensor, other: Tensor, noise: Tensor) -> Tensor:
    """The noisy mask that the network sees; all at one noise level."""
    if control == "shuffled_mask":
        return other
    return noise if control == "random_mask" else own


def partner(index: int, count: int) -> int:
    """Which case stands in for a case: half the list away, since neighbours are alike.

    Raises:
        ValueError: there is only one case.
    """
    if count < 2:
        raise ValueError(f"a shuffled control needs 2 cases or more, there are {count}")
    return (index + count // 2) % count
