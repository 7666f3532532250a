"""Grey values of a mask file to labels: of one sample per pixel, or with transparency."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from trainables.decoding.labels import Legend, to_labels
from trainables.decoding.stored import Stored

GREY_SHARE = 0.25
"""Largest share of grey pixels in a mask of black and white."""

Array = NDArray[Any]


class Read(NamedTuple):
    """Labels, and which reading of the file they come from."""

    values: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def possible(values: Array, legend: Legend, most: int) -> NDArray[np.uint8] | None:
    """The labels, or None where a value is no class."""
    try:
        return to_labels(values, legend, most=most)
    except ValueError:
        return None


def grey_labels(values: Array, most: int, legend: Legend) -> Read:
    """Numbers as they are, or black and white with some grey pixels along the outlines."""
    labels = possible(values, legend, most)
    if labels is not None:
        return Read(labels)
    if legend.two and values.dtype.kind in "iu":
        for white in (255, most):
            cut = _cut(values, white)
            if cut is not None:
                return cut
    return Read(to_labels(values, legend, most=most))


def _cut(values: Array, white: int) -> Read | None:
    """Black and white that was resampled: cut in the middle; None where it is something else.

    Grey pixels must lie along outlines, and be of several values: a region, or an outline of one
    value, is a class of its own.
    """
    if values.min() != 0 or values.max() != white:
        return None
    grey = (values != 0) & (values != white)
    share = float(grey.mean())
    if share > GREY_SHARE or len(np.unique(values[grey])) < 3:
        return None
    if scipy.ndimage.binary_erosion(grey, np.ones((5, 5), bool), border_value=1).any():
        return None
    rule = f"has {share:.2%} grey pixels between 0 and {white}: cut in the middle"
    return Read((values > white / 2).astype(np.uint8), (rule,))


def in_colours(legend: Legend) -> str:
    """Return the message for a mask in colours."""
    return f"is a mask in colours, must be grey or indexed: one number per class ({legend})"


def sampled_labels(stored: Stored, legend: Legend) -> Read:
    """Several samples per pixel: grey in RGB, with or without transparency.

    Raises:
        ValueError: there are colours, or colour and transparency contradict each other.
    """
    values, most = stored.values, stored.most
    colour = values[:, :, :-1] if stored.alpha else values
    grey = colour[:, :, 0]
    if not stored.alpha:
        if (colour != grey[:, :, None]).any():
            raise ValueError(in_colours(legend))
        return grey_labels(grey, most, legend)
    alpha = values[:, :, -1]
    if (alpha == (most or 1)).all():
        if (colour != grey[:, :, None]).any():
            raise ValueError(in_colours(legend))
        return grey_labels(grey, most, legend)
    if (colour == colour[:1, :1]).all() and (alpha != alpha[0, 0]).any():
        labels, notes = grey_labels(alpha, most, legend)
        return Read(labels, (*notes, "has one colour: the mask is its transparency (alpha)"))
    by_colour = None
    if (colour == grey[:, :, None]).all():
        by_colour = possible(grey, legend, most)
    by_alpha = possible(alpha, legend, most)
    if by_colour is None and by_alpha is None:
        raise ValueError(in_colours(legend))
    if by_colour is None or by_alpha is None or (by_colour != by_alpha).any():
        raise ValueError(
            "has colours and transparency (alpha) that differ: it must be saved without one of them"
        )
    return Read(by_colour)
