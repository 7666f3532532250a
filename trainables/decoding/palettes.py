"""Indexed mask files to labels: a palette decides whether indices or colours are meant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.images import padded
from trainables.decoding.labels import SHOWN, Legend, distinct, listed
from trainables.decoding.mask_values import Array, Read, grey_labels, possible, sampled_labels
from trainables.decoding.stored import Stored


def indexed_labels(stored: Stored, palette: NDArray[np.uint8], legend: Legend) -> Read:
    """An indexed file: a palette of black and white means its colours, any other its indices.

    Raises:
        ValueError: the palette allows both, or neither.
    """
    indices = stored.values[:, :, 0] if stored.values.ndim == 3 else stored.values
    used = distinct(indices)
    palette = padded(palette, int(used.max()))
    if stored.values.ndim == 3 or (palette[used, 3] < 255).any():
        return _transparent(indices, stored, palette, legend)
    by_index = possible(indices, legend, 0)
    if stored.numeric and by_index is not None:
        return Read(by_index)  # ImageJ's look-up tables are for looking only
    if _two_tone(palette[: _defined(palette, used)]):
        return _black_and_white(palette[indices, 0], by_index, legend)
    colours = palette[used, :3]
    shown = _shown(used, palette)
    if (colours == colours[:, :1]).all():
        grey = palette[indices, 0]
        if (grey == indices).all():
            return grey_labels(grey, 255, legend)
        return _grey_palette(
            grey, by_index, legend, shown, bool((np.diff(colours[:, 0].astype(int)) > 0).all())
        )
    if by_index is None:
        raise ValueError(
            f"has a palette ({shown}) and indices {listed(used)}; the classes are {legend}"
        )
    return Read(by_index, _background(palette, legend, shown))


def _black_and_white(
    colours: NDArray[np.uint8], by_index: NDArray[np.uint8] | None, legend: Legend
) -> Read:
    """Colours 0 and 255 of a palette, unless the user names the numbers, which may be the indices.

    Raises:
        ValueError: the user's numbers allow both, and they differ.
    """
    if legend.values and by_index is not None:
        by_colour = possible(colours, legend, 255)
        if by_colour is not None and (by_colour != by_index).any():
            raise ValueError(
                "has a palette of black and white: its indices and its colours are both in values="
                " and differ; save it without a palette"
            )
        return Read(by_index, ("has a palette of black and white: its indices are read",))
    labels, notes = grey_labels(colours, 255, legend)
    if by_index is None or (labels != by_index).any():
        notes = (*notes, "has a palette of black and white: its colours are read")
    return Read(labels, notes)


def _grey_palette(
    grey: NDArray[np.uint8],
    by_index: NDArray[np.uint8] | None,
    legend: Legend,
    shown: str,
    rising: bool,
) -> Read:
    """Indices into greys: both are numbers, and one of them must be the only possible one."""
    by_grey = possible(grey, legend, 255)
    if by_grey is not None and by_index is not None and (by_grey != by_index).any():
        raise ValueError(
            f"has a grey palette ({shown}): indices and greys are both possible as labels, and"
            " differ; save it without a palette"
        )
    if by_grey is not None:
        return Read(by_grey)
    if by_index is None:
        return grey_labels(grey, 255, legend)
    if not rising:
        raise ValueError(
            f"has a grey palette ({shown}) whose greys do not rise with the index; save it without"
            " a palette"
        )
    return Read(by_index)


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
) -> Read:
    """An indexed file with transparency: indices if only the background is transparent.

    Raises:
        ValueError: another colour is transparent.
    """
    used = distinct(indices)
    clear = used[palette[used, 3] < 255]
    by_index = possible(indices, legend, 0)
    plain = stored.values.ndim == 2 and not _two_tone(palette[: _defined(palette, used)])
    if plain and by_index is not None and clear.tolist() == [0]:
        return Read(by_index)
    colours = palette[indices]
    if stored.values.ndim == 3:
        colours[:, :, 3] = stored.values[:, :, 1]
    return sampled_labels(Stored(colours, alpha=True), legend)
