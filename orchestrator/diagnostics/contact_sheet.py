"""A contact sheet: some images of each split with their masks' outlines, to look at."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from trainables.datasets import SPLITS, Dataset, Problem, Raster, Source
from trainables.decoding.downscale import reduced
from trainables.decoding.rules import decoded, fault

COLUMNS = 6
"""Images per split."""
SIDE = 320
"""Pixels of an image's longer side on the sheet."""

LINE = 2
"""Pixels that an outline is wide, inside the mask."""
BRIGHT = ("yellow", "cyan", "magenta", "lime", "orange", "white", "red", "deepskyblue", "pink")


def sheet(dataset: Dataset, file: Path) -> list[Problem]:
    """Write the sheet as a PNG; what could not be shown is returned.

    Raises:
        ValueError: there is nothing to show.
    """
    scanned = list(dataset.scan())
    problems = [p for p in scanned if isinstance(p, Problem)]
    sources = [s for s in scanned if isinstance(s, Source)]
    rows: list[list[tuple[Source, Raster]]] = []
    for split in SPLITS:
        row: list[tuple[Source, Raster]] = []
        for source, raster in decoded(_spaced([s for s in sources if s.split == split])):
            wrong = raster if isinstance(raster, Exception) else fault(dataset, raster)
            if wrong is not None or isinstance(raster, Exception):
                problems.append(Problem(source.file or source.name, str(wrong)))
            else:
                row.append((source, raster))
        rows.append(row)
    if not any(rows):
        first = f": {problems[0]}" if problems else ""
        raise ValueError(f"{dataset.title}: no image can be shown{first}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font lacks
        _figure(dataset, rows).savefig(file, format="png", dpi=100)
    return problems


def _spaced(sources: list[Source]) -> list[Source]:
    """So many, from the first to the last."""
    count = min(COLUMNS, len(sources))
    return [sources[round(i)] for i in np.linspace(0, len(sources) - 1, count)] if count else []


def _figure(dataset: Dataset, rows: list[list[tuple[Source, Raster]]]) -> Figure:
    columns = max(3, *map(len, rows))
    figure = Figure(figsize=(2.3 * columns, 2.7 * len(rows) + 0.6), layout="constrained")
    colours = _colours(len(dataset.classes))
    grid: Any = figure.subplots(len(rows), columns, squeeze=False)
    for split, row, axes in zip(SPLITS, rows, grid, strict=True):
        for i, axis in enumerate(axes):
            axis.set_axis_off()
            if i < len(row):
                source, raster = row[i]
                height, width = raster.labels.shape
                share = float((raster.labels > 0).mean())
                name = source.name if len(source.name) <= 28 else f"…{source.name[-27:]}"
                axis.imshow(outlined(raster, colours))
                about = f"{split}, {width} x {height}, {share:.1%}"
                axis.set_title(f"{name}\n{about}", fontsize=7, parse_math=False)
    handles = [
        Patch(color=colours[k], label=name) for k, name in enumerate(dataset.classes) if k > 0
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    most = 22 * columns
    where = dataset.where if len(dataset.where) <= most else f"…{dataset.where[-most:]}"
    figure.suptitle(f"{dataset.title}\n{where}", fontsize=8, parse_math=False)
    return figure


def _colours(classes: int) -> NDArray[np.float64]:
    """One bright colour per class, [K, 3]; the background's is not used."""
    return np.array([to_rgb(BRIGHT[(k - 1) % len(BRIGHT)]) for k in range(classes)])


def outlined(raster: Raster, colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """The image in [0, 1] with its masks' inner borders in colour: [h, w, 3]."""
    pixels, labels = reduced(raster.pixels, raster.labels, SIDE)
    larger = max(1, SIDE // max(labels.shape))  # so that outlines are thin
    pixels, labels = (v.repeat(larger, -1).repeat(larger, -2) for v in (pixels, labels))
    image = pixels.astype(np.float64)[:3] if len(pixels) >= 3 else pixels[:1].astype(np.float64)
    low, high = np.percentile(image, (0.5, 99.5))
    image = ((image - low) / max(high - low, 1e-9)).clip(0, 1)
    shown = np.broadcast_to(image.transpose(1, 2, 0), (*labels.shape, 3)).copy()
    objects = labels.astype(np.int64)
    if raster.instances is not None:  # at the nearest pixels
        places = [
            np.linspace(0, n - 1, m).round().astype(int)
            for n, m in zip(raster.instances.shape, labels.shape, strict=True)
        ]
        objects = np.where(labels > 0, raster.instances[np.ix_(*places)], 0)
    around = np.pad(objects, LINE, mode="edge")
    inner = np.zeros(labels.shape, bool)
    for step in range(-LINE, LINE + 1):
        rows, columns = (slice(LINE + step, LINE + step + n) for n in labels.shape)
        inner |= around[rows, LINE:-LINE] != objects
        inner |= around[LINE:-LINE, columns] != objects
    border = inner & (labels > 0)
    shown[border] = colours[labels[border]]
    return shown
