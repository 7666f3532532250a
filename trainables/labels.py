"""The labels of pixels: 0 is the background, 1, 2, ... are classes, and one counts nowhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""The label of a pixel that is of no class: it counts neither in the loss nor in a metric."""

FEW = 100
"""Held-out pixels of a class below which its score is a matter of chance."""


def vote(annotations: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the label that most annotators gave each pixel, from [A, ...] to [...].

    Among labels that are given equally often the lowest wins, so that a pixel which half of the
    annotators mark is background.

    >>> vote(np.array([[0, 1, 1], [0, 1, 2], [0, 0, 1], [0, 0, 2]], np.uint8)).tolist()
    [0, 0, 1]
    """
    labels = np.zeros(annotations.shape[1:], np.uint8)
    most = np.zeros(labels.shape, np.int64)
    for label in np.flatnonzero(np.bincount(annotations.ravel())):
        votes = (annotations == label).sum(0)
        labels[votes > most] = label
        most = np.maximum(most, votes)
    return labels
