"""Surface distances between two masks as an additive histogram, from which HD95 and NSD follow.

The surface of a mask are its pixels with a side neighbour outside it, as in MONAI and in Metrics
Reloaded (Maier-Hein et al. 2024, 2206.01653). A distance is that of a surface pixel's centre to the
nearest surface pixel of the other mask. The border of an image belongs to the outside; ignored
pixels belong to both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from trainables.distance_bins import BINS, UPPER
from trainables.rows import SurfaceSums

ROUNDING = 1e-7
"""How far a distance may exceed the edge of its bin because of rounding."""

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


def rows(
    predicted: Mask, truth: Mask, counted: Mask, spacing: Sequence[float] = ()
) -> list[SurfaceSums]:
    """Return the non-empty bins of the distances of both surfaces, in the unit of the spacing.

    The masks are bool [H, W] or [D, H, W]; ``spacing`` has the sides of a pixel, 1 by default.
    Two empty masks have no rows. If one mask is empty, every surface pixel of the other has the
    length of the image's diagonal as its distance. A border to pixels that do not count is no
    surface, but for a mask that has no other border.
    """
    sides = tuple(spacing) or (1.0,) * truth.ndim
    masks = {"predicted": predicted & counted, "true": truth & counted}
    box = _box(masks["predicted"] | masks["true"])
    if box is None:
        return []
    diagonal = float(np.linalg.norm(np.array(truth.shape) * sides))
    outside = {name: ~(mask | ~counted)[box] for name, mask in masks.items()}
    surface = {name: _exposed(masks[name][box], outside[name], sides) for name in masks}
    for name, mask in masks.items():
        if mask.any() and not surface[name].any():
            surface[name] = _exposed(mask[box], ~mask[box], sides)
    binned: dict[str, Array] = {}
    for name, other in (("predicted", "true"), ("true", "predicted")):
        on = surface[name] > 0
        distance = _distances(surface[other] > 0, sides, diagonal)[on]
        at = np.searchsorted(UPPER + ROUNDING, distance).clip(max=BINS - 1)
        binned[f"{name}_count"] = np.bincount(at, minlength=BINS).astype(np.float64)
        binned[f"{name}_distance_sum"] = cast("Array", np.bincount(at, distance, BINS))
        binned[f"{name}_area"] = cast("Array", np.bincount(at, surface[name][on], BINS))
    filled = np.flatnonzero(binned["predicted_count"] + binned["true_count"])
    return [_row(int(b), binned) for b in filled]


def _row(b: int, binned: dict[str, Array]) -> SurfaceSums:
    sums = {name: float(values[b]) for name, values in binned.items()}
    counts = {name: int(sums[name]) for name in ("predicted_count", "true_count")}
    return cast("SurfaceSums", {"bin": b, **sums, **counts})


def _box(mask: Mask) -> tuple[slice, ...] | None:
    """Return the smallest box with all pixels of a mask and a margin of one; None if empty."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    return tuple(
        slice(max(0, s.start - 1), min(n, s.stop + 1))
        for s, n in zip(found[0], mask.shape, strict=True)
    )


def _exposed(mask: Mask, outside: Mask, sides: tuple[float, ...]) -> Array:
    """Return the area of the faces between each pixel of a mask and the outside; 0 inside it."""
    padded = np.pad(outside, 1, constant_values=True)
    area = np.zeros(mask.shape)
    for axis in range(mask.ndim):
        face = float(np.prod(sides)) / sides[axis]
        for shift in (-1, 1):
            neighbour = np.roll(padded, shift, axis)[(slice(1, -1),) * mask.ndim]
            area += face * (mask & neighbour)
    return area


def _distances(surface: Mask, sides: tuple[float, ...], diagonal: float) -> Array:
    """Return the distance of every pixel to a surface; the diagonal where there is none."""
    if not surface.any():
        return np.full(surface.shape, diagonal)
    return np.asarray(ndimage.distance_transform_edt(~surface, sampling=sides))
