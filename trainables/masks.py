"""Masks as labels, as channels and as probabilities.

Two classes take one channel (the foreground); K > 2 classes take K one-hot channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def channels(classes: int) -> int:
    """Return the number of channels of a mask with so many classes, background included.

    >>> channels(2), channels(3)
    (1, 3)
    """
    return 1 if classes == 2 else classes


def to_channels(labels_BHW: Tensor, classes: int) -> Tensor:
    """Return labels 0..K−1 as {0, 1} channels, float32 [B, M, H, W]."""
    if classes == 2:
        return (labels_BHW == 1).float()[:, None]
    return functional.one_hot(labels_BHW.long(), classes).permute(0, 3, 1, 2).float()


def probabilities(logits_BMHW: Tensor) -> Tensor:
    """Return probabilities: the sigmoid of one channel, the softmax of several."""
    return logits_BMHW.sigmoid() if logits_BMHW.shape[1] == 1 else logits_BMHW.softmax(1)


def normalised(p_BMHW: Tensor) -> Tensor:
    """Scale class scores ≥ 0 to a sum of one; a single foreground channel stays as it is.

    Where all scores are zero, all classes are equally likely.
    """
    if p_BMHW.shape[1] == 1:
        return p_BMHW
    positive = p_BMHW + 1e-6
    return positive / positive.sum(1, keepdim=True)


def logits_of(probabilities_BMHW: Tensor, least: float = 1e-6) -> Tensor:
    """Return the logits of probabilities that are clamped to [``least``, 1 − ``least``]."""
    p = probabilities_BMHW.clamp(least, 1 - least)
    return torch.logit(p) if p.shape[1] == 1 else p.log()


def to_labels(probabilities_BMHW: Tensor) -> Tensor:
    """Return the most probable class, uint8 [B, H, W]; a probability of exactly ½ is background."""
    if probabilities_BMHW.shape[1] == 1:
        return (probabilities_BMHW[:, 0] > 0.5).to(torch.uint8)
    return probabilities_BMHW.argmax(1).to(torch.uint8)


def foreground(channels_BMHW: Tensor) -> Tensor:
    """Return the channels of the foreground classes, [B, K−1, H, W]."""
    return channels_BMHW if channels_BMHW.shape[1] == 1 else channels_BMHW[:, 1:]


def cross_entropy(logits_BMHW: Tensor, mask_BMHW: Tensor) -> Tensor:
    """Return −log p of the true class per pixel, [B, H, W], in nats."""
    if logits_BMHW.shape[1] == 1:
        loss = functional.binary_cross_entropy_with_logits(logits_BMHW, mask_BMHW, reduction="none")
        return loss[:, 0]
    return -(mask_BMHW * logits_BMHW.log_softmax(1)).sum(1)


def soft_dice_loss(p_BMHW: Tensor, mask_BMHW: Tensor) -> Tensor:
    """Return 1 − soft Dice, mean over classes, [B] (Milletari et al. 2016, arXiv 1606.04797).

    One pixel of smoothing keeps the gradient finite where a tile has no foreground.
    """
    p, y = foreground(p_BMHW), foreground(mask_BMHW)
    overlap = 2 * (p * y).sum((2, 3)) + 1
    return (1 - overlap / (p.sum((2, 3)) + y.sum((2, 3)) + 1)).mean(1)
