"""Masks as labels, as channels and as probabilities.

Two classes take one channel (the foreground); K > 2 classes take K one-hot channels. The label
:data:`IGNORE` is no class: a pixel with it counts nowhere, and its channels are ½.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trainables.labels import IGNORE


def channels(classes: int) -> int:
    """Return the number of channels of a mask with so many classes, background included.

    >>> channels(2), channels(3)
    (1, 3)
    """
    return 1 if classes == 2 else classes


def counted(labels: Tensor) -> Tensor:
    """Return which pixels count, bool of the same shape: those that are not to be ignored."""
    return labels != IGNORE


def known(labels: Tensor) -> Tensor:
    """Return the labels with 0 for ignored pixels, for code that needs a class everywhere."""
    return labels.masked_fill(labels == IGNORE, 0)


def halved(channels_BMHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Return the channels with ½ at ignored pixels: no evidence for either value."""
    return channels_BMHW.masked_fill(~counted(labels_BHW)[:, None], 0.5)


def mean_counted(values: Tensor, labels_BHW: Tensor) -> Tensor:
    """Return the mean of each case over the pixels that count, [B]; 0 where none does.

    ``values`` is [B, H, W] or [B, M, H, W]. The gradient at ignored pixels is zero.
    """
    which = counted(labels_BHW)
    factor = which[0].numel() / which.flatten(1).sum(1).clamp(min=1)  # 1 where all pixels count
    left_out = ~(which if values.ndim == 3 else which[:, None])
    return values.masked_fill(left_out, 0).flatten(1).mean(1) * factor.to(values)


def to_channels(labels_BHW: Tensor, classes: int) -> Tensor:
    """Return labels 0..K−1 as {0, 1} channels, ½ at ignored pixels: float32 [B, M, H, W]."""
    if classes == 2:
        channels_BMHW = (labels_BHW == 1).float()[:, None]
    else:
        one_hot = functional.one_hot(known(labels_BHW).long(), classes)
        channels_BMHW = one_hot.permute(0, 3, 1, 2).float()
    return halved(channels_BMHW, labels_BHW)


def probabilities(logits_BMHW: Tensor) -> Tensor:
    """Return probabilities: the sigmoid of one channel, the softmax of several.

    They are float32 at least, because bfloat16 has no number between 0.996 and 1.
    """
    logits = logits_BMHW.to(torch.promote_types(logits_BMHW.dtype, torch.float32))
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


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


def soft_dice_loss(p_BMHW: Tensor, mask_BMHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Return 1 − soft Dice, mean over classes, [B] (Milletari et al. 2016, arXiv 1606.04797).

    One pixel of smoothing keeps the gradient finite where a tile has no foreground.
    """
    left_out = ~counted(labels_BHW)[:, None]
    p, y = (foreground(x).masked_fill(left_out, 0) for x in (p_BMHW, mask_BMHW))
    overlap = 2 * (p * y).sum((2, 3)) + 1
    return (1 - overlap / (p.sum((2, 3)) + y.sum((2, 3)) + 1)).mean(1)
