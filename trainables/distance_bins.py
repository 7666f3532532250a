"""The bins of the stored surface distances: 1/20 wide up to a distance of 20, then growing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FINE = 20
"""Bins per pixel or millimetre up to :data:`FAR`."""
FAR = 20
"""The distance from which on bins grow: an octave has :data:`OCTAVE` of them."""
OCTAVE = 40
OCTAVES = 10
BINS = 1 + FINE * FAR + OCTAVE * OCTAVES


def _edges() -> NDArray[np.float64]:
    near = np.arange(FINE * FAR + 1) / FINE
    octave, part = np.divmod(np.arange(OCTAVE * OCTAVES), OCTAVE)
    return np.concatenate([near, FAR * 2.0**octave * (1 + (part + 1) / OCTAVE)])


UPPER = _edges()
"""The upper edge of each bin: a bin holds distances above the one before and up to its own."""
