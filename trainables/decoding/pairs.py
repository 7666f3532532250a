"""Images and their masks, paired by name, and split without a patient in two splits."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from trainables.decoding.images import SUFFIXES, Picture, read_pixels
from trainables.decoding.labels import Labels, read_labels
from trainables.decoding.tree import File, Tree
from trainables.interfaces.dataset import Problem, Raster, Source, Split

IMAGES = ("images", "image", "img", "imgs")
MASKS = ("masks", "mask", "labels", "label", "labelcol", "annotations", "groundtruth", "gt")
SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "tr"), cast("Split", "train")),
    **dict.fromkeys(("val", "valid", "validation"), cast("Split", "val")),
    **dict.fromkeys(("test", "testing", "ts"), cast("Split", "test")),
}
ABBREVIATED: dict[str, Split] = {"tr": "train", "va": "val", "ts": "test"}
"""After the name of a folder, as in nnU-Net's ``imagesTr``."""
SHARE = 0.2
"""Of the groups without a split of their own: what is cut off for validation, and for test."""


@dataclass(frozen=True)
class Pair:
    """An image's file and its mask's; the split where the layout says one."""

    name: str
    image: File
    mask: File
    split: Split | None = None
    group: str | None = None
    """The patient; None: the image stands for itself."""


Read = Callable[[File, File], Raster]


def reader(channels: int, classes: tuple[str, ...]) -> Read:
    """Reads an image file and its mask file, of one size; a bad mask is named, a bad image not."""
    return functools.partial(_raster, channels=channels, classes=classes)


def _raster(image: File, mask: File, channels: int, classes: tuple[str, ...]) -> Raster:
    picture = read_pixels(image, channels)
    try:
        labels = read_labels(mask, classes)
    except ValueError as error:
        raise ValueError(f"its mask {mask.path} {error}") from error
    wrong = mismatch(picture, labels)
    if wrong is not None:
        raise ValueError(wrong)
    notes = [*picture.notes, *(f"its mask {mask.path} {note}" for note in labels.notes)]
    if picture.orientation != labels.orientation:
        notes.append(_turned(picture.orientation, labels.orientation))
    return Raster(picture.pixels, labels.values, notes=tuple(notes))


def mismatch(picture: Picture, labels: Labels) -> str | None:
    """What to say where an image and its mask differ in size; None where they do not."""
    (height, width), (mask_height, mask_width) = picture.pixels.shape[1:], labels.values.shape
    if (height, width) == (mask_height, mask_width):
        return None
    rule = f"is {width} x {height} pixels but its mask is {mask_width} x {mask_height}"
    if picture.orientation != labels.orientation and (width, height) == labels.values.shape:
        rule += "; its EXIF orientation turns it, so the mask must be drawn on the turned image"
    return rule


def _turned(image: int, mask: int) -> str:
    """What to say where orientation tags differ: the mask may be drawn on the stored pixels."""
    if mask == 1:
        return "is turned as its orientation tag says, its mask is not"
    if image == 1:
        return "has a mask that is turned as its orientation tag says, the image is not"
    return f"has orientation {image}, its mask has {mask}: each is turned as its tag says"


def split_of(path: PurePosixPath) -> Split | None:
    """The split that a folder's name gives, such as ``Train_Folder`` or ``imagesTs``.

    The abbreviations count after the name of a folder of images or masks only: ``TS_0`` may be a
    site.

    >>> split_of(PurePosixPath("Val_Folder/img/a.png")), split_of(PurePosixPath("img/train.png"))
    ('val', None)
    >>> split_of(PurePosixPath("imagesTs/a.png")), split_of(PurePosixPath("TS_0/images/a.png"))
    ('test', None)
    """
    for part in reversed(path.parts[:-1]):
        known = re.fullmatch(_named((*IMAGES, *MASKS)), part.lower())
        if known is not None and known[2]:
            return ABBREVIATED[known[2]]
        for word in re.findall(r"[A-Z]+[a-z]*|[a-z]+", part):
            if len(word) > 2 and word.lower() in SPLIT_WORDS:
                return SPLIT_WORDS[word.lower()]
    return None


def _named(names: Sequence[str]) -> str:
    """A pattern of folder names with an abbreviated split after them."""
    return rf"({'|'.join(names)})(tr|ts|va)?"


def folder_of(path: PurePosixPath, names: Sequence[str]) -> tuple[int, str] | None:
    """Which part of a path is one of the names, and the ``Tr`` or ``Ts`` after it; None: no part.

    >>> folder_of(PurePosixPath("a/imagesTr/x.png"), IMAGES)
    (1, 'tr')
    """
    for i in reversed(range(len(path.parts) - 1)):
        found = re.fullmatch(_named(names), path.parts[i].lower())
        if found is not None:
            return i, found[2] or ""
    return None


Keyed = dict[tuple[str, ...], list[File]]
"""Files by what is around their folder, and their stem."""


def by_key(tree: Tree, names: Sequence[str], suffixes: Sequence[str]) -> Keyed:
    """The files in folders of some names, at any depth."""
    found: Keyed = defaultdict(list)
    for file in tree.files:
        at = folder_of(file.name, names) if file.suffix in suffixes else None
        if at is not None:
            parts = file.name.parts
            around = (*parts[: at[0]], at[1], *parts[at[0] + 1 : -1])
            key = (*filter(None, around), file.stem)
            found[tuple(unicodedata.normalize("NFC", part) for part in key)].append(file)
    return found


def paired(tree: Tree) -> Iterator[Pair | Problem]:
    """Files of image folders with those of mask folders, by their stems and what is around them.

    Folders are found by their names (:data:`IMAGES`, :data:`MASKS`) at any depth, so that
    ``images/a.jpg`` goes with ``masks/a.png`` and ``train/img/a.png`` with ``train/mask/a.png``.
    """
    yield from matched(by_key(tree, IMAGES, SUFFIXES), by_key(tree, MASKS, SUFFIXES), tree)


def matched(
    images: Mapping[tuple[str, ...], list[File]],
    masks: Mapping[tuple[str, ...], list[File]],
    tree: Tree,
    mask_is: str = "a mask of the same name",
    image_is: str = f"image in a folder named {', '.join(IMAGES)}",
) -> Iterator[Pair | Problem]:
    """Files by key to pairs; what has no partner, or two, is a problem."""
    if not images:
        yield Problem(tree.url, f"has no {image_is}")
    unmasked = _unmasked(images, masks)
    for folder, count in unmasked.items():
        yield Problem(folder, f"has {count} images and none has a mask: left out", fatal=False)
    for key, mine in images.items():
        if len(mine) > 1:
            others = ", ".join(f.path for f in mine[1:])
            yield Problem(mine[0].path, f"has the same stem as {others}")
            continue
        theirs = masks.get(key, [])
        if not theirs and str(mine[0].name.parent) in unmasked:
            continue
        if not theirs:
            yield Problem(mine[0].path, f"has no mask: there must be {mask_is}")
        elif len(theirs) > 1:
            yield Problem(
                mine[0].path, f"has {len(theirs)} masks: {theirs[0].path}, {theirs[1].path}"
            )
        else:
            yield Pair("/".join(key), mine[0], theirs[0], split_of(mine[0].name))
    for key, theirs in masks.items():
        if key not in images:
            yield Problem(theirs[0].path, "has no image: there must be one of the same name")


def _unmasked(
    images: Mapping[tuple[str, ...], list[File]], masks: Mapping[tuple[str, ...], list[File]]
) -> dict[str, int]:
    """Folders of which no image at all has a mask, such as a test set without its truth."""
    count: dict[str, int] = defaultdict(int)
    known: set[str] = set()
    for key, mine in images.items():
        folder = str(mine[0].name.parent)
        count[folder] += len(mine)
        if key in masks:
            known.add(folder)
    return {folder: n for folder, n in count.items() if folder not in known}


def sources(items: Iterable[Pair | Problem], read: Read) -> Iterator[Source | Problem]:
    """Pairs as sources, with the groups and splits that :func:`settled` gives them."""
    for item in settled(items):
        if isinstance(item, Problem):
            yield item
        else:
            p, group, split = item
            yield Source(
                p.name, group, split, functools.partial(read, p.image, p.mask), p.image.path
            )


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
