"""Mask files to labels; a file that could mean two different masks is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from trainables.decoding.images import padded, read_stored
from trainables.decoding.labels import SHOWN, Legend, distinct, is_white, listed, to_labels
from trainables.decoding.stored import Stored
from trainables.decoding.tree import File

DARK, LIGHT = 64, 192
"""Bounds of what is black and white in a lossy file of 8 bit."""
GREY_SHARE = 0.25
"""Largest share of grey pixels in a mask of black and white."""

Array = NDArray[Any]


class Labels(NamedTuple):
    """A decoded mask."""

    values: NDArray[Any]
    """[H, W]: uint8 of 0..K−1 or :data:`~trainables.labels.IGNORE`, or int32 of 1 for
    the first object, and so on."""
    orientation: int
    """The orientation tag that was applied, 1 to 8."""
    notes: tuple[str, ...]
    """Which reading was taken where the file allows several."""
    white: bool | None = None
    """As of :class:`~trainables.interfaces.dataset.Raster`."""


class _Read(NamedTuple):
    """Labels, and which reading of the file they come from."""

    values: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def read_labels(file: File, legend: Legend) -> Labels:
    """A mask as labels 0..K−1.

    Two classes may be 0 and 1, or 0 and the largest value of the type or 255. A palette of black
    and white means its colours, any other palette means its indices.

    Raises:
        ValueError: the file is damaged, has colours, values that are no class, or two readings.
    """
    stored = read_stored(file)
    if stored.lossy:
        labels, notes = _lossy(stored, legend)
    elif stored.palette is not None:
        labels, notes = _indexed(stored, stored.palette, legend)
    elif stored.values.ndim == 3:
        labels, notes = _sampled(stored, legend)
    elif stored.inverted:
        labels, notes = _inverted(stored, legend)
    else:
        values = stored.values // stored.step if stored.step > 1 else stored.values
        labels, notes = _grey(values, stored.most, legend)
        white = is_white(values, labels, legend, stored.most)
        return Labels(labels, stored.orientation, (*stored.notes, *notes), white)
    return Labels(labels, stored.orientation, (*stored.notes, *notes))


def read_objects(file: File) -> Labels:
    """A mask of one number per object, 0 for none, as int32 numbers from 1.

    Raises:
        ValueError: the file is damaged, or has no such numbers.
    """
    stored = read_stored(file)
    values = stored.values
    if stored.lossy:
        raise ValueError("is compressed with loss, which changes numbers of objects")
    if stored.inverted and not stored.numeric:
        raise ValueError("declares 0 to be white (photometric MINISWHITE): save it with 0 as black")
    if values.ndim == 3 and (values == values[:, :, :1]).all():
        values = values[:, :, 0]
    if values.ndim == 3:
        raise ValueError("is a mask in colours, must have one number per object")
    numbers, objects = np.unique(values // stored.step, return_inverse=True)
    if numbers[0] < 0 or (numbers != np.round(numbers)).any():
        raise ValueError(f"has mask values {listed(numbers)}, must be whole numbers from 0")
    first = int(numbers[0] > 0)
    return Labels((objects + first).astype(np.int32), stored.orientation, stored.notes)


def _possible(values: Array, legend: Legend, most: int) -> NDArray[np.uint8] | None:
    """The labels, or None where a value is no class."""
    try:
        return to_labels(values, legend, most=most)
    except ValueError:
        return None


def _grey(values: Array, most: int, legend: Legend) -> _Read:
    """Numbers as they are, or black and white with some grey pixels along the outlines."""
    labels = _possible(values, legend, most)
    if labels is not None:
        return _Read(labels)
    if legend.two and values.dtype.kind in "iu":
        for white in (255, most):
            cut = _cut(values, white)
            if cut is not None:
                return cut
    return _Read(to_labels(values, legend, most=most))


def _cut(values: Array, white: int) -> _Read | None:
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
    return _Read((values > white / 2).astype(np.uint8), (rule,))


def _lossy(stored: Stored, legend: Legend) -> _Read:
    """A lossy file of two classes, cut in the middle.

    Raises:
        ValueError: there are more classes, or the file is not black and white.
    """
    if not legend.two:
        count = len(legend.classes)
        raise ValueError(
            f"is compressed with loss, which changes labels: {count} classes need PNG or TIFF"
        )
    values = stored.values
    if values.dtype != np.uint8:
        raise ValueError(f"is compressed with loss, of {values.dtype}: save it as PNG")
    if values.ndim == 3:
        if int(np.ptp(values, 2).max()) >= DARK:
            raise ValueError(_in_colours(legend))
        values = values.mean(2)
    values = 255 - values if stored.inverted else values
    light, dark = values >= LIGHT, values < DARK
    share = float((~light & ~dark).mean())
    least, most = float(values.min()), float(values.max())
    if share > GREY_SHARE or (0 < most < LIGHT) or (DARK <= least < 255):
        raise ValueError(
            f"is compressed with loss and has values {least:.0f} to {most:.0f}: it must be black"
            " (0) and white (255)"
        )
    rule = f"is compressed with loss: {share:.2%} of its pixels are grey; cut in the middle"
    return _Read((values > 127).astype(np.uint8), (rule,) if share > 0 else ())


def _in_colours(legend: Legend) -> str:
    return f"is a mask in colours, must be grey or indexed: one number per class ({legend})"


def _inverted(stored: Stored, legend: Legend) -> _Read:
    """A file that declares 0 to be white: its numbers, or its colours where only these are labels.

    ImageJ and tifffile store numbers whatever they declare; of a bilevel file by another program
    the colours count.

    Raises:
        ValueError: both are possible, and nothing says which one is meant.
    """
    values, most = stored.values, stored.most
    numbers = _possible(values, legend, most)
    colours = None
    if values.dtype.kind in "bu":
        white = ~values if values.dtype.kind == "b" else (most - values).astype(values.dtype)
        colours = _possible(white, legend, most)
    if numbers is None and colours is None:
        return _Read(to_labels(values, legend, most=most))
    says = "declares 0 to be white (photometric MINISWHITE):"
    if numbers is not None and (stored.numeric or legend.values or colours is None):
        return _Read(numbers, (f"{says} its stored numbers are read as labels",))
    if colours is not None and (numbers is None or values.dtype.kind == "b"):
        return _Read(colours, (f"{says} its colours are read, white as the larger label",))
    share = float((values != 0).mean())
    raise ValueError(
        f"{says} foreground is {share:.1%} by its numbers and {1 - share:.1%} by its colours; save"
        " it with 0 as black (MINISBLACK)"
    )


def _sampled(stored: Stored, legend: Legend) -> _Read:
    """Several samples per pixel: grey in RGB, with or without transparency.

    Raises:
        ValueError: there are colours, or colour and transparency contradict each other.
    """
    values, most = stored.values, stored.most
    colour = values[:, :, :-1] if stored.alpha else values
    grey = colour[:, :, 0]
    if not stored.alpha:
        if (colour != grey[:, :, None]).any():
            raise ValueError(_in_colours(legend))
        return _grey(grey, most, legend)
    alpha = values[:, :, -1]
    if (alpha == (most or 1)).all():
        if (colour != grey[:, :, None]).any():
            raise ValueError(_in_colours(legend))
        return _grey(grey, most, legend)
    if (colour == colour[:1, :1]).all() and (alpha != alpha[0, 0]).any():
        labels, notes = _grey(alpha, most, legend)
        return _Read(labels, (*notes, "has one colour: the mask is its transparency (alpha)"))
    by_colour = None
    if (colour == grey[:, :, None]).all():
        by_colour = _possible(grey, legend, most)
    by_alpha = _possible(alpha, legend, most)
    if by_colour is None and by_alpha is None:
        raise ValueError(_in_colours(legend))
    if by_colour is None or by_alpha is None or (by_colour != by_alpha).any():
        raise ValueError(
            "has colours and transparency (alpha) that differ: it must be saved without one of them"
        )
    return _Read(by_colour)


def _indexed(stored: Stored, palette: NDArray[np.uint8], legend: Legend) -> _Read:
    """An indexed file: a palette of black and white means its colours, any other its indices.

    Raises:
        ValueError: the palette allows both, or neither.
    """
    indices = stored.values[:, :, 0] if stored.values.ndim == 3 else stored.values
    used = distinct(indices)
    palette = padded(palette, int(used.max()))
    if stored.values.ndim == 3 or (palette[used, 3] < 255).any():
        return _transparent(indices, stored, palette, legend)
    by_index = _possible(indices, legend, 0)
    if stored.numeric and by_index is not None:
        return _Read(by_index)  # ImageJ's look-up tables are for looking only
    if _two_tone(palette[: _defined(palette, used)]):
        return _black_and_white(palette[indices, 0], by_index, legend)
    colours = palette[used, :3]
    shown = _shown(used, palette)
    if (colours == colours[:, :1]).all():
        grey = palette[indices, 0]
        if (grey == indices).all():
            return _grey(grey, 255, legend)
        return _grey_palette(
            grey, by_index, legend, shown, bool((np.diff(colours[:, 0].astype(int)) > 0).all())
        )
    if by_index is None:
        raise ValueError(
            f"has a palette ({shown}) and indices {listed(used)}; the classes are {legend}"
        )
    return _Read(by_index, _background(palette, legend, shown))


def _black_and_white(
    colours: NDArray[np.uint8], by_index: NDArray[np.uint8] | None, legend: Legend
) -> _Read:
    """Colours 0 and 255 of a palette, unless the user names the numbers, which may be the indices.

    Raises:
        ValueError: the user's numbers allow both, and they differ.
    """
    if legend.values and by_index is not None:
        by_colour = _possible(colours, legend, 255)
        if by_colour is not None and (by_colour != by_index).any():
            raise ValueError(
                "has a palette of black and white: its indices and its colours are both in values="
                " and differ; save it without a palette"
            )
        return _Read(by_index, ("has a palette of black and white: its indices are read",))
    labels, notes = _grey(colours, 255, legend)
    if by_index is None or (labels != by_index).any():
        notes = (*notes, "has a palette of black and white: its colours are read")
    return _Read(labels, notes)


def _grey_palette(
    grey: NDArray[np.uint8],
    by_index: NDArray[np.uint8] | None,
    legend: Legend,
    shown: str,
    rising: bool,
) -> _Read:
    """Indices into greys: both are numbers, and one of them must be the only possible one."""
    by_grey = _possible(grey, legend, 255)
    if by_grey is not None and by_index is not None and (by_grey != by_index).any():
        raise ValueError(
            f"has a grey palette ({shown}): indices and greys are both possible as labels, and"
            " differ; save it without a palette"
        )
    if by_grey is not None:
        return _Read(by_grey)
    if by_index is None:
        return _grey(grey, 255, legend)
    if not rising:
        raise ValueError(
            f"has a grey palette ({shown}) whose greys do not rise with the index; save it without"
            " a palette"
        )
    return _Read(by_index)


def _defined(palette: NDArray[np.uint8], used: Array) -> int:
    """How many entries the palette has without the black ones that fill it up."""
    coloured = np.flatnonzero(palette[:, :3].any(1))
    return max(int(used.max()), int(coloured.max(initial=0))) + 1


def _two_tone(palette: NDArray[np.uint8]) -> bool:
    """Whether all colours are black or white."""
    first = palette[:, :1]
    return bool((palette[:, :3] == first).all() and np.isin(first, (0, 255)).all())


def _shown(used: Array, palette: NDArray[np.uint8]) -> str:
    """The used entries of a palette, as #RRGGBB."""
    more = ", ..." if len(used) > SHOWN else ""
    return ", ".join(f"{i} #{bytes(palette[i, :3]).hex()}" for i in used[:SHOWN]) + more


def _background(palette: NDArray[np.uint8], legend: Legend, shown: str) -> tuple[str, ...]:
    """Return a note if index 0, the background, has a colour that is not black.

    Raises:
        ValueError: it is not black, and nothing says that the indices are numbers of classes.
    """
    if not palette[0, :3].any():
        return ()
    if legend.values:
        return (f"has a palette ({shown}): its indices are read",)
    raise ValueError(
        f"has a palette ({shown}) in which index 0, the background, is not black: a program that"
        " reduces colours sorts them, so its indices may be no labels; save it without a palette,"
        " or give the index of each class (values=)"
    )


def _transparent(
    indices: Array, stored: Stored, palette: NDArray[np.uint8], legend: Legend
) -> _Read:
    """An indexed file with transparency: indices if only the background is transparent.

    Raises:
        ValueError: another colour is transparent.
    """
    used = distinct(indices)
    clear = used[palette[used, 3] < 255]
    by_index = _possible(indices, legend, 0)
    plain = stored.values.ndim == 2 and not _two_tone(palette[: _defined(palette, used)])
    if plain and by_index is not None and clear.tolist() == [0]:
        return _Read(by_index)
    colours = palette[indices]
    if stored.values.ndim == 3:
        colours[:, :, 3] = stored.values[:, :, 1]
    return _sampled(Stored(colours, alpha=True), legend)
