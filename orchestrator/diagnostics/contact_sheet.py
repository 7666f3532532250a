"""A contact sheet: images of each split with their masks, shares of foreground, and values."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from orchestrator.diagnostics.mask_checks import Case, case_of, outliers, suspicions
from trainables.datasets import SPLITS, Dataset, Problem, Raster, Source
from trainables.decoding.downscale import reduced
from trainables.decoding.rules import decoded, fault, scanned
from trainables.labels import IGNORE

COLUMNS = 6
"""Images per split."""
SIDE = 320
"""Pixels of an image's longer side on the sheet."""

LINE = 2
"""Pixels that an outline is wide, inside the mask."""
_ROW = np.pad(np.ones((1, 2 * LINE + 1), bool), ((LINE, LINE), (0, 0)))
CROSS = _ROW | _ROW.T
"""The neighbours of a pixel within the width of an outline, in its row and its column."""
FILL = 0.4
"""Opacity of a mask's colour inside its outline."""
SAMPLED = 4096
"""Pixels per image in the histogram."""
NAMED = 6
"""Outliers whose names are written."""
BRIGHT = ("yellow", "cyan", "magenta", "lime", "orange", "white", "red", "deepskyblue", "pink")

HIDDEN = (0.35, 0.2, 0.2)
"""The colour of pixels to be ignored, which are not shown."""

Shown = tuple[Source, Raster]


def sheet(dataset: Dataset, file: Path) -> list[Problem]:
    """Write the sheet as a PNG; return what could not be shown, and what is suspicious.

    Raises:
        ValueError: there is nothing to show.
    """
    items = list(scanned(dataset))
    problems = [p for p in items if isinstance(p, Problem)]
    sources = [s for s in items if isinstance(s, Source)]
    survey = _Survey()
    rows: list[list[Shown]] = []
    for split in SPLITS:
        mine = [s for s in sources if s.split == split]
        chosen, row = {s.name for s in _spaced(mine)}, list[Shown]()
        for source, raster in decoded(mine):
            wrong = raster if isinstance(raster, Exception) else fault(dataset, raster)
            if wrong is not None or isinstance(raster, Exception):
                problems.append(Problem(source.file or source.name, str(wrong)))
                continue
            survey.add(source, raster)
            if source.name in chosen:
                row.append((source, raster))
        rows.append(row)
    if not any(rows):
        first = f": {problems[0]}" if problems else ""
        raise ValueError(f"{dataset.title}: no image can be shown{first}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font lacks
        figure: Any = _figure(dataset, rows, survey)
        figure.savefig(file, format="png", dpi=100)
    return [*problems, *suspicions(dataset, survey.cases)]


def _spaced(sources: list[Source]) -> list[Source]:
    """Up to :data:`COLUMNS` sources, evenly spaced from the first to the last."""
    count = min(COLUMNS, len(sources))
    return [sources[round(i)] for i in np.linspace(0, len(sources) - 1, count)] if count else []


class _Survey:
    """The foreground share of every case, and a sample of the values of all images."""

    def __init__(self) -> None:
        self.cases: dict[str, list[Case]] = {split: [] for split in SPLITS}
        self.values: dict[bool, list[NDArray[np.float32]]] = {True: [], False: []}
        """Mean over the channels, of foreground pixels and of the others."""

    def add(self, source: Source, raster: Raster) -> None:
        self.cases[source.split].append(case_of(source.name, raster.labels, raster.white))
        counts = raster.labels != IGNORE
        values = raster.pixels.mean(0, dtype=np.float32)[counts]
        inside, every = raster.labels[counts] > 0, max(1, -(-len(values) // SAMPLED))
        for part in (True, False):
            self.values[part].append(values[::every][inside[::every] == part])


def _figure(dataset: Dataset, rows: list[list[Shown]], survey: _Survey) -> Figure:
    columns = max(4, *map(len, rows))
    shape = (len(rows) + 1, columns)
    figure: Any = Figure(figsize=(2.3 * columns, 2.7 * shape[0] + 0.6), layout="constrained")
    colours = class_colours(len(dataset.classes))
    grid: Any = figure.add_gridspec(*shape)
    for r, (split, row) in enumerate(zip(SPLITS, rows, strict=True)):
        for i, (source, raster) in enumerate(row):
            axis: Any = figure.add_subplot(grid[r, i])
            axis.set_axis_off()
            height, width = raster.labels.shape
            share = case_of(source.name, raster.labels).share
            axis.imshow(outlined(raster, colours))
            title = f"{_shortened(source.name)}\n{split}, {width} x {height}, {share:.1%}"
            axis.set_title(title, fontsize=7, parse_math=False)
    _draw_shares(figure.add_subplot(grid[-1, : columns // 2]), survey)
    _draw_values(figure.add_subplot(grid[-1, columns // 2 :]), survey)
    handles = [
        Patch(color=colours[k], label=name) for k, name in enumerate(dataset.classes) if k > 0
    ]
    if dataset.ignores:
        handles.append(Patch(color=HIDDEN, label="ignored"))
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    most = 22 * columns
    where = dataset.where if len(dataset.where) <= most else f"…{dataset.where[-most:]}"
    figure.suptitle(f"{dataset.title}\n{where}", fontsize=8, parse_math=False)
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= 28 else f"…{name[-27:]}"


def _draw_shares(axis: Any, survey: _Survey) -> None:
    """The foreground share of every case by split, its outliers with their names."""
    every = [case for cases in survey.cases.values() for case in cases]
    far = {case.file for case in outliers(every)[:NAMED]}
    for i, (split, cases) in enumerate(survey.cases.items()):
        shares = [case.share for case in cases]
        spread = np.random.default_rng(i).uniform(-0.25, 0.25, len(cases))
        axis.plot(i + spread, shares, ".", markersize=4, color="tab:blue", alpha=0.6)
        for k, (case, x) in enumerate(zip(cases, i + spread, strict=True)):
            if case.file in far:
                axis.plot(x, case.share, "o", markersize=5, color="tab:red")
                at = {"xytext": (5, 3 - 8 * (k % 2)), "textcoords": "offset points", "fontsize": 6}
                axis.annotate(_shortened(case.file), (x, case.share), parse_math=False, **at)
        axis.text(i, 1.03, f"{split}: {len(cases)}", fontsize=7, ha="center")
    axis.set(xlim=(-0.5, len(survey.cases) - 0.3), ylim=(-0.02, 1.12), xticks=[])
    axis.tick_params(labelsize=6)
    axis.set_title("foreground share of every case, outliers named", fontsize=7)


def _draw_values(axis: Any, survey: _Survey) -> None:
    """One histogram of the images' values: all of them, and those of the foreground."""
    inside, outside = (np.concatenate(survey.values[part]) for part in (True, False))
    both = np.concatenate([inside, outside])
    low, high = (float(v) for v in np.percentile(both, (0.1, 99.9)))
    bins = np.linspace(low, max(high, low + 1e-6), 65)
    for values, style in (
        (outside, {"color": "0.7", "label": "background"}),
        (inside, {"color": "tab:red", "histtype": "step", "label": "foreground"}),
    ):
        if len(values):
            weights = np.full(len(values), 1 / len(both))
            axis.hist(values.clip(low, high), bins, weights=weights, **style)
    axis.set(yticks=[])
    axis.tick_params(labelsize=6)
    axis.legend(fontsize=6, frameon=False)
    axis.set_title("values of all images, mean of the channels", fontsize=7)


def class_colours(classes: int) -> NDArray[np.float64]:
    """One bright colour per class, [K, 3]; the background's is not used."""
    return np.array([to_rgb(BRIGHT[(k - 1) % len(BRIGHT)]) for k in range(classes)])


def outlined(raster: Raster, colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """The image in [0, 1], grey inside its masks, with these filled and outlined: [h, w, 3]."""
    pixels, labels = reduced(raster.pixels, raster.labels, SIDE)
    larger = max(1, SIDE // max(labels.shape))  # so that outlines are thin
    pixels, labels = (v.repeat(larger, -1).repeat(larger, -2) for v in (pixels, labels))
    image = pixels.astype(np.float64)[:3]
    if len(image) == 2:  # red and green
        image = np.concatenate([image, np.full_like(image[:1], image.min())])
    low, high = np.percentile(image, (0.5, 99.5))
    image = ((image - low) / max(high - low, 1e-9)).clip(0, 1)
    shown = np.broadcast_to(image.transpose(1, 2, 0), (*labels.shape, 3)).copy()
    ignored = labels == IGNORE
    objects = labels.astype(np.int64)
    if raster.instances is not None:  # at the nearest pixels
        rows, columns = (
            np.rint(np.linspace(0, n - 1, m, dtype=np.float64)).astype(np.int64)
            for n, m in zip(raster.instances.shape, labels.shape, strict=True)
        )
        objects = np.where(labels > 0, raster.instances[np.ix_(rows, columns)], 0)
    highest = ndimage.maximum_filter(objects, footprint=CROSS, mode="nearest")
    lowest = ndimage.minimum_filter(objects, footprint=CROSS, mode="nearest")
    inside = (labels > 0) & ~ignored
    grey = shown[inside].mean(1, keepdims=True)
    shown[inside] = (1 - FILL) * grey + FILL * colours[labels[inside]]
    border = (highest != lowest) & inside
    shown[border] = colours[labels[border]]
    shown[ignored] = HIDDEN
    return shown
