"""Aperio ImageScope annotations: polygons read from XML and filled, one object each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from trainables.decoding.tree import in_a_line

Polygon = NDArray[np.float64]
"""[N, 2] of (X, Y): X counts columns and Y rows, from the image's top left corner."""


class Region(NamedTuple):
    """One outline of an annotation."""

    name: str
    """Its number in the file."""
    polygon: Polygon
    hole: bool = False
    """Whether it is cut out of the regions that it lies in (``NegativeROA``)."""


def read_regions(xml: bytes) -> list[Region]:
    """Every region of every annotation, in the order of the file.

    Elements are found by their tags: headers and attributes come between them.

    Raises:
        ValueError: the XML is not well formed, declares entities, or a vertex is no pair of
            numbers.
    """
    try:
        root: Any = fromstring(xml, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise ValueError(f"is no XML that can be read: {in_a_line(error)}") from error
    found: list[Region] = []
    for i, region in enumerate(root.iter("Region"), start=1):
        name = region.get("Id") or str(i)
        points = [_point(name, vertex) for vertex in region.iter("Vertex")]
        polygon = np.array(points, np.float64).reshape(-1, 2)
        found.append(Region(name, polygon, region.get("NegativeROA", "0") == "1"))
    return found


def _point(region: str, vertex: Any) -> tuple[float, float]:
    x, y = vertex.get("X"), vertex.get("Y")
    try:
        point = float(x), float(y)
    except (TypeError, ValueError):
        point = math.nan, math.nan
    if not all(map(math.isfinite, point)):
        raise ValueError(f"region {region} has a vertex X={x!r} Y={y!r}, must be two numbers")
    return point


def fill(regions: Sequence[Region], height: int, width: int) -> tuple[NDArray[np.int32], list[str]]:
    """Instances [H, W], numbered from 1, and what was odd about some regions.

    Where polygons overlap the first one keeps the pixel, as in the challenge's own program.
    Polygons may reach beyond the image. A hole is cut out of the regions that it overlaps, but not
    out of a region that lies within it.
    """
    instances, notes = np.zeros((height, width), np.int32), list[str]()
    holes: list[tuple[str, NDArray[np.bool_]]] = []
    for name, polygon, _ in (r for r in regions if r.hole and len(r.polygon) >= 3):
        rows, columns, inside = filled(polygon, height, width)
        hole = np.zeros((height, width), bool)
        hole[rows, columns] = inside
        holes.append((name, hole))
    cut: set[str] = set()
    for number, (name, polygon, is_hole) in enumerate(regions, start=1):
        if len(polygon) < 3:
            notes.append(f"region {name} has {len(polygon)} vertices and is left out: no polygon")
            continue
        if is_hole:
            continue
        rows, columns, inside = filled(polygon, height, width)
        for of_hole, hole in holes:
            within = inside & hole[rows, columns]
            if within.any() and (within != inside).any():
                inside = inside & ~within
                cut.add(of_hole)
        window = instances[rows, columns]
        free = inside & (window == 0)
        window[free] = number
        if not free.any():
            notes.append(f"region {name} has no pixel of its own")
    notes += [
        f"region {name} is a hole (NegativeROA) in no other region"
        for name, _ in holes
        if name not in cut
    ]
    return instances, notes


def filled(polygon: Polygon, height: int, width: int) -> tuple[slice, slice, NDArray[np.bool_]]:
    """The pixels whose centre (c + ½, r + ½) lies inside, even–odd, within the bounding box.

    Every edge toggles what is right of where it crosses a row of centres.
    """
    low, high = np.floor(polygon.min(0)), np.ceil(polygon.max(0))
    left, right = (int(v) for v in np.clip((low[0], high[0]), 0, width))
    top, bottom = (int(v) for v in np.clip((low[1], high[1]), 0, height))
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, 0).T
    y = np.arange(top, bottom)[:, None] + 0.5
    row, edge = np.nonzero((y0 <= y) != (y1 <= y))
    along = (y[row, 0] - y0[edge]) / (y1[edge] - y0[edge])
    crossing = x0[edge] + along * (x1[edge] - x0[edge])
    first = np.clip(np.ceil(crossing - 0.5), left, right).astype(np.int64) - left
    toggles = np.zeros((bottom - top, right - left + 1), np.int64)
    np.add.at(toggles, (row, first), 1)
    inside = toggles.cumsum(1)[:, :-1] % 2 == 1
    return slice(top, bottom), slice(left, right), inside
