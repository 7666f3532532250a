"""An image and its masks: read, combined, and split without a patient in two splits."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.images import ChannelsError, Picture, read_pixels
from trainables.decoding.labels import Legend
from trainables.decoding.mask_files import Labels, read_labels, read_objects
from trainables.decoding.tree import File
from trainables.interfaces.dataset import Problem, Raster, Source, Split
from trainables.labels import vote

SHARE = 0.2
"""The share of the groups without a split that goes to validation, and the share for test."""
Combine = Literal["one", "union", "objects", "classes", "annotators"]
"""How the masks of an image become one: there is one; several parts of it; one per object, which
are instances; one per class; one per annotator, whose vote counts."""


@dataclass(frozen=True)
class Pair:
    """An image's files and those of its masks; the split where the layout says one."""

    name: str
    image: File
    """The first channel, where each has a file."""
    mask: File
    """The first, where there are several."""
    split: Split | None = None
    group: str | None = None
    """The patient; None: the image stands for itself."""
    channels: tuple[File, ...] = ()
    """The files of the channels after the first."""
    more: tuple[File, ...] = ()
    """The masks after the first."""
    combine: Combine = "one"
    classes: tuple[int, ...] = ()
    """The class of each mask, where there is one per class."""
    annotators: tuple[str, ...] = ()
    """The annotator of each mask, where there is one per annotator."""


Read = Callable[[Pair], Raster]


def reader(channels: int, legend: Legend) -> Read:
    """Reads the files of a pair, of one size; a bad mask is named, a bad image not."""
    return functools.partial(_raster, channels=channels, legend=legend)


def object_reader(channels: int) -> Read:
    """Reads an image and its mask of one number per object; every object is foreground."""
    return functools.partial(_numbered, channels=channels)


def _numbered(pair: Pair, channels: int) -> Raster:
    if pair.more:
        raise ValueError("has several masks, so their numbers are no objects of one mask")
    picture = _picture(pair, channels)
    try:
        mask = read_objects(pair.mask)
    except ValueError as error:
        raise ValueError(f"its mask {pair.mask.path} {error}") from error
    wrong = mismatch(picture, mask, pair.mask.path)
    if wrong is not None:
        raise ValueError(wrong)
    labels = (mask.values > 0).astype(np.uint8)
    notes = [*picture.notes, *(f"its mask {pair.mask.path} {note}" for note in mask.notes)]
    if mask.orientation != picture.orientation:
        notes.append(_turned(picture.orientation, mask.orientation))
    return Raster(picture.pixels, labels, mask.values, tuple(notes))


def _raster(pair: Pair, channels: int, legend: Legend) -> Raster:
    if pair.combine == "objects" and len(legend.classes) != 2:
        raise ValueError(f"has one mask per object, but the classes are {legend}")
    picture = _picture(pair, channels)
    one_per = pair.combine in ("objects", "classes")
    single = Legend(("background", "object")) if one_per else legend
    masks = [_mask(file, single, picture) for file in (pair.mask, *pair.more)]
    files = zip((pair.mask, *pair.more), masks, strict=True)
    notes = [*picture.notes, *(f"its mask {f.path} {note}" for f, m in files for note in m.notes)]
    turned = next((m.orientation for m in masks if m.orientation != picture.orientation), None)
    if turned is not None:
        notes.append(_turned(picture.orientation, turned))
    layers = np.stack([m.values for m in masks])
    if pair.combine == "objects":
        instances = _objects(layers)
        labels = (instances > 0).astype(np.uint8)
        return Raster(picture.pixels, labels, instances, tuple(notes))
    if pair.combine == "classes":
        labels, overlap = _by_class(layers, pair.classes)
        if overlap:
            notes.append(f"has {overlap} pixels of several classes: the last class counts")
        return Raster(picture.pixels, labels, notes=tuple(notes))
    white = masks[0].white
    if pair.combine == "annotators":
        return Raster(
            picture.pixels,
            vote(layers),
            notes=tuple(notes),
            white=white,
            annotations=layers,
            annotators=pair.annotators,
        )
    union = _union(layers, pair)
    return Raster(picture.pixels, union, notes=tuple(notes), white=white)


def _picture(pair: Pair, channels: int) -> Picture:
    """An image, of one file or of one per channel."""
    if not pair.channels:
        return read_pixels(pair.image, channels)
    files = (pair.image, *pair.channels)
    if len(files) != channels:
        raise ChannelsError(len(files), channels)
    planes = [read_pixels(file, 1) for file in files]
    if len({(p.pixels.shape, p.pixels.dtype, p.orientation) for p in planes}) > 1:
        raise ValueError("has channels that differ in size, type or orientation")
    pixels = np.concatenate([p.pixels for p in planes])
    return Picture(pixels, planes[0].orientation, tuple(n for p in planes for n in p.notes))


def _mask(file: File, legend: Legend, picture: Picture) -> Labels:
    try:
        labels = read_labels(file, legend)
    except ValueError as error:
        raise ValueError(f"its mask {file.path} {error}") from error
    wrong = mismatch(picture, labels, file.path)
    if wrong is not None:
        raise ValueError(wrong)
    return labels


def _objects(layers_NHW: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Instances [H, W] of one mask each; where they overlap the first one keeps the pixel."""
    first = layers_NHW.argmax(0) + 1
    return np.where(layers_NHW.any(0), first, 0).astype(np.int32)


def _union(layers_NHW: NDArray[np.uint8], pair: Pair) -> NDArray[np.uint8]:
    """The foreground of all masks.

    Raises:
        ValueError: two masks give one pixel different classes.
    """
    most: NDArray[Any] = layers_NHW.max(0)
    differ = (layers_NHW != most) & (layers_NHW > 0)
    if differ.any():
        second = (pair.mask, *pair.more)[int(np.flatnonzero(differ.any((1, 2)))[0])]
        raise ValueError(f"its mask {second.path} contradicts its other masks")
    return most


def _by_class(
    layers_NHW: NDArray[np.uint8], classes: tuple[int, ...]
) -> tuple[NDArray[np.uint8], int]:
    """Labels of one mask per class, and how many pixels several classes claim.

    Raises:
        ValueError: there is a mask of class 0 that is not the background.
    """
    labels = np.zeros(layers_NHW.shape[1:], np.uint8)
    for k, layer in sorted(zip(classes, layers_NHW, strict=True), key=lambda item: item[0]):
        labels[layer > 0] = k
        if k == 0 and ((layer > 0) == layers_NHW[np.array(classes) > 0].any(0)).any():
            raise ValueError(
                "has a mask of class 0 that is not what the other masks leave: name the folders of"
                " the masks as the classes"
            )
    counts = layers_NHW[np.array(classes) > 0].astype(bool).sum(0)
    return labels, int((counts > 1).sum())


def mismatch(picture: Picture, labels: Labels, mask: str) -> str | None:
    """Return the rule that an image and a mask of different sizes break; None if they fit."""
    (height, width), (mask_height, mask_width) = picture.pixels.shape[1:], labels.values.shape
    if (height, width) == (mask_height, mask_width):
        return None
    rule = f"is {width} x {height} pixels but its mask {mask} is {mask_width} x {mask_height}"
    if picture.orientation != labels.orientation and (width, height) == labels.values.shape:
        rule += "; its EXIF orientation turns it, so the mask must be drawn on the turned image"
    return rule


def _turned(image: int, mask: int) -> str:
    """Return a note on different orientation tags: the mask may be drawn on the stored pixels."""
    if mask == 1:
        return "is turned as its orientation tag says, its mask is not"
    if image == 1:
        return "has a mask that is turned as its orientation tag says, the image is not"
    return f"has orientation {image}, its mask has {mask}: each is turned as its tag says"


def sources(items: Iterable[Pair | Problem], read: Read) -> Iterator[Source | Problem]:
    """Pairs as sources, with the groups and splits that :func:`settled` gives them."""
    for item in settled(items):
        if isinstance(item, Problem):
            yield item
        else:
            p, group, split = item
            yield Source(p.name, group, split, functools.partial(read, p), p.image.path)


def settled(
    items: Iterable[Pair | Problem],
) -> Iterator[tuple[Pair, str, Split] | Problem]:
    """Each pair with its group and its split; whole groups are given one that have none."""
    pairs: list[Pair] = []
    for item in items:
        if isinstance(item, Problem):
            yield item
        else:
            pairs.append(item)
    given: dict[str, Split | None] = {}
    for p in pairs:
        group = p.group or p.name
        given[group] = given.get(group) or p.split
    cut = assigned(given)
    for p in pairs:
        group = p.group or p.name
        torn = p.split is not None and p.split != given[group]  # left so, for the rules to find
        yield p, group, p.split if torn and p.split is not None else cut[group]


def assigned(groups: Mapping[str, Split | None]) -> dict[str, Split]:
    """A split for every group: its own, or what is missing cut off in the order of their hashes.

    Validation is cut from the training groups where none is given, and test as well: a share of
    :data:`SHARE` each, at least one. Who is cut depends on the groups' names alone.

    >>> cut = assigned({f"p{i}": None for i in range(10)})
    >>> [sum(s == split for s in cut.values()) for split in ("train", "val", "test")]
    [6, 2, 2]
    """
    found = {group: split or "train" for group, split in groups.items()}
    free = sorted((g for g, s in found.items() if s == "train"), key=_hashed)
    count = max(1, round(SHARE * len(free)))
    given = set(found.values())
    for split in ("test", "val"):
        if split not in given and len(free) > count:
            chosen, free = free[:count], free[count:]
            found.update(dict.fromkeys(chosen, cast("Split", split)))
    return cast("dict[str, Split]", found)


def _hashed(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
