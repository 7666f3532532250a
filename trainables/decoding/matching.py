"""Images with their masks: by names, tags, channels, classes and objects."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from trainables.decoding.annotators import annotated
from trainables.decoding.channels import by_case
from trainables.decoding.images import SUFFIXES
from trainables.decoding.labels import IGNORED, Legend
from trainables.decoding.layout import (
    IMAGES,
    MASKS,
    Key,
    Keyed,
    by_key,
    folder_of,
    normal,
    split_of,
)
from trainables.decoding.pairs import Combine, Pair
from trainables.decoding.tree import File, Tree
from trainables.interfaces.dataset import Problem
from trainables.labels import IGNORE

TAG = re.compile(
    r"(.+?)[ ._-]+(masks?|segs?|segmentations?|labels?|gt|groundtruth|annotations?)"
    r"(?:[ ._-]?(\d+))?",
    re.IGNORECASE,
)
"""A mask's name: the image's, a word for mask, and a number where there are several."""
UNREAD = (
    *(".gif", ".webp", ".dcm", ".ima", ".hdr", ".img", ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"),
    *(".raw", ".npy", ".npz", ".mat", ".jp2", ".svs", ".ndpi", ".czi", ".lif", ".nd2", ".heic"),
    *(".gz", ".h5", ".hdf5", ".zarr", ".pgm", ".ppm", ".pbm", ".tga", ".svg", ".psd", ""),
)
"""Suffixes of images, and of volumes, that a reader may not read; "": none, as DICOM files have."""
MANY = 3
"""Folders without masks that are listed one by one."""


class MaskSet(NamedTuple):
    """Several masks of one image."""

    files: tuple[File, ...]
    combine: Combine
    classes: tuple[int, ...] = ()
    annotators: tuple[str, ...] = ()


def annotator_sets(files: Mapping[Key, Mapping[str, File]]) -> dict[Key, MaskSet]:
    """Masks of one annotator each; those of a single annotator are ordinary masks."""
    return {
        key: MaskSet(tuple(of.values()), "annotators", annotators=tuple(of))
        if len(of) > 1
        else MaskSet(tuple(of.values()), "one")
        for key, of in files.items()
    }


def without(files: Keyed, sets: Mapping[Key, MaskSet]) -> Keyed:
    """The files by key, without those that are in a set of masks."""
    used = {file.path for of in sets.values() for file in of.files}
    return {key: of for key, of in files.items() if of[0].path not in used}


def paired(tree: Tree, legend: Legend) -> Iterator[Pair | Problem]:
    """Images and their masks, found by the names of folders and files.

    Folders are found by their names (:data:`IMAGES`, :data:`MASKS`) at any depth, so that
    ``images/a.jpg`` goes with ``masks/a.png`` and ``train/img/a.png`` with ``train/mask/a.png``.
    A mask may also be named ``a_mask``, ``a_seg``, ... (:data:`TAG`), beside its image or in a
    folder of masks; several, such as ``a_mask_1``, are parts of one. Masks in ``masks/1`` or
    ``masks/NAME`` are of one class each. Those in ``masks_1``, ``masks_2``, or in ``masks/rater1``,
    ``masks/rater2`` are of one annotator each. Where the only image of a folder has masks of other
    names, each is of one object. ``a_0000`` is the first channel of ``a``.
    """
    images, masks = by_key(tree, IMAGES, SUFFIXES), by_key(tree, MASKS, SUFFIXES)
    if not images:
        images = _unsorted(tree)
    by_person, odd_annotators = annotated(tree, SUFFIXES, masks)
    sets = annotator_sets(by_person)
    images, masks = without(images, sets), without(masks, sets)
    tagged = _tagged({**images, **masks}, images, masks)
    tagged |= _class_folders(images, masks, legend)
    tagged |= _objects(images, masks, tagged)
    images, masks = without(images, tagged), without(masks, tagged)
    sets = {**tagged, **sets}
    yield from odd_annotators
    yield from _combined(sets)
    first, channels, odd = by_case(images, {*masks, *sets})
    yield from unread(tree, SUFFIXES)
    yield from odd.values()
    for item in matched(first, masks, tree, sets=sets):
        if isinstance(item, Problem):
            yield item
        elif item.image.path not in odd:
            yield dataclasses.replace(item, channels=tuple(channels[item.image.path][1:]))


def _combined(sets: Mapping[Key, MaskSet]) -> Iterator[Problem]:
    """A warning for each way in which several masks of an image become one."""
    meaning = {
        "union": "are united",
        "objects": "are read as one object each",
        "classes": "are read as one class each, by their folders",
        "annotators": "are read as one annotator each, by their folders",
    }
    for combine, what in meaning.items():
        of = [s for s in sets.values() if s.combine == combine and len(s.files) > 1]
        if of:
            rule = f"is one of several masks of its image: those of {len(of)} images {what}"
            yield Problem(of[0].files[0].path, rule, fatal=False)
    objects = [s for s in sets.values() if s.combine == "objects"]
    if objects and all(len(s.files) == 1 for s in objects):
        rule = "has another name than the only image of its folder, as whose mask it is read"
        yield Problem(objects[0].files[0].path, rule, fatal=False)


def _unsorted(tree: Tree) -> Keyed:
    """All images outside of folders of masks, if some of them are masks by their names."""
    found: Keyed = defaultdict(list)
    for file in tree.files:
        if file.suffix in SUFFIXES and folder_of(file.name, MASKS) is None:
            found[normal((*file.name.parts[:-1], file.stem))].append(file)
    tagged = any(file.suffix in SUFFIXES and TAG.fullmatch(file.stem) for file in tree.files)
    return found if tagged else {}


def _tagged(files: Keyed, images: Keyed, masks: Keyed) -> dict[Key, MaskSet]:
    """Masks whose names are their image's with a tag, by the key of the image.

    They lie beside their images, or all those of a folder belong to images of one other folder.
    """
    tags = {key: tag for key in files if (tag := TAG.fullmatch(key[-1])) is not None}
    bases, stems = defaultdict[Key, set[str]](set), defaultdict[Key, set[str]](set)
    for key in images:
        stems[key[:-1]].add(key[-1])
    for key, tag in tags.items():
        bases[key[:-1]].add(tag[1])
    at_home = {key[:-1] for key in images if key not in tags}
    groups: dict[Key, list[tuple[str, int, Key]]] = defaultdict(list)
    for key, tag in tags.items():
        target = (*key[:-1], tag[1])
        if target not in images and key[:-1] not in at_home:
            homes = [home for home, held in stems.items() if bases[key[:-1]] <= held]
            target = (*homes[0], tag[1]) if len(homes) == 1 else target
        if target in images and target not in masks and not (key in images and key in masks):
            groups[target].append((tag[2].lower(), int(tag[3] or -1), key))
    sets: dict[Key, MaskSet] = {}
    for target, members in groups.items():
        found = tuple(files[key][0] for _, _, key in sorted(members))
        one_word = len({word for word, _, _ in members}) == 1
        distinct = len({number for _, number, _ in members}) == len(members)
        if one_word and distinct and all(len(files[key]) == 1 for _, _, key in members):
            sets[target] = MaskSet(found, "union" if len(found) > 1 else "one")
    return sets


def _class_folders(images: Keyed, masks: Keyed, legend: Legend) -> dict[Key, MaskSet]:
    """Masks in a folder per class, named by the class or by its number."""
    numbers = {name.lower(): k for k, name in enumerate(legend.classes)}
    numbers |= {IGNORED: IGNORE} if legend.ignores else {}
    numbers |= {str(number): label for number, label in legend.labels.items()}
    found: dict[Key, dict[int, File]] = defaultdict(dict)
    for key, files in masks.items():
        if key in images or len(files) != 1:
            continue
        for i, part in enumerate(key[:-1]):
            target = (*key[:i], *key[i + 1 :])
            if part.lower() in numbers and target in images:
                found[target][numbers[part.lower()]] = files[0]
    return {
        key: MaskSet(tuple(of[k] for k in sorted(of)), "classes", tuple(sorted(of)))
        for key, of in found.items()
        if set(of) - {0}
    }


def _objects(images: Keyed, masks: Keyed, sets: Mapping[Key, MaskSet]) -> dict[Key, MaskSet]:
    """Masks of one object each, of the only image of a folder."""
    inside: dict[Key, list[Key]] = defaultdict(list)
    for key in images:
        inside[key[:-1]].append(key)
    found: dict[Key, list[File]] = defaultdict(list)
    for key, files in masks.items():
        mine = inside.get(key[:-1], [])
        if key[:-1] and len(mine) == 1 and mine[0] not in masks and mine[0] not in sets:
            found[mine[0]] += files
    return {
        key: MaskSet(tuple(sorted(files, key=lambda f: f.path)), "objects")
        for key, files in found.items()
    }


def unread(tree: Tree, suffixes: Sequence[str]) -> Iterator[Problem]:
    """A warning for images in folders of images or masks that are of a kind that is not read."""
    counts: Counter[tuple[str, str]] = Counter()
    for file in tree.files:
        held = folder_of(file.name, (*IMAGES, *MASKS)) is not None
        if held and file.suffix in (*UNREAD, *SUFFIXES) and file.suffix not in suffixes:
            counts[str(file.name.parent), file.suffix] += 1
    for (folder, suffix), count in counts.items():
        what = suffix or "without a suffix"
        rule = f"has {count} files {what}, which are not read; read are {', '.join(suffixes)}"
        yield Problem(folder, rule, fatal=False)


def matched(
    images: Mapping[Key, list[File]],
    masks: Mapping[Key, list[File]],
    tree: Tree,
    mask_is: str = "a mask of the same name",
    image_is: str = f"image in a folder named {', '.join(IMAGES)}",
    *,
    sets: Mapping[Key, MaskSet] | None = None,
) -> Iterator[Pair | Problem]:
    """Files by key to pairs; what has no partner, or two, is a problem."""
    sets = sets or {}
    if not images:
        yield Problem(tree.url, f"has no {image_is}{_instead(tree)}")
    unmasked = _unmasked(images, {*masks, *sets})
    yield from _left_out(unmasked, tree)
    for key, mine in images.items():
        if len(mine) > 1:
            others = ", ".join(f.path for f in mine[1:])
            yield Problem(mine[0].path, f"has the same stem as {others}")
            continue
        name, split = "/".join(key), split_of(mine[0].name)
        if key in sets:
            of = sets[key]
            yield Pair(
                *(name, mine[0], of.files[0], split),
                more=of.files[1:],
                combine=of.combine,
                classes=of.classes,
                annotators=of.annotators,
            )
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
            yield Pair(name, mine[0], theirs[0], split)
    for key, theirs in masks.items():
        if key not in images:
            yield Problem(theirs[0].path, "has no image: there must be one of the same name")


def _instead(tree: Tree) -> str:
    """Return the content of a place without images, as text for a message."""
    counts = Counter((str(f.name.parent), f.suffix or "without a suffix") for f in tree.files)
    shown = [f"{folder}/ with {n} {suffix}" for (folder, suffix), n in counts.most_common(MANY)]
    return f"; read are {', '.join(SUFFIXES)}; found: {', '.join(shown) or 'nothing'}"


def _left_out(unmasked: Mapping[str, int], tree: Tree) -> Iterator[Problem]:
    """A warning for every folder without masks, or one for many."""
    rule = "has {} images and none has a mask: left out"
    if len(unmasked) <= MANY:
        for folder, count in unmasked.items():
            yield Problem(folder, rule.format(count), fatal=False)
        return
    first, count = next(iter(unmasked)), sum(unmasked.values())
    text = f"{len(unmasked)} folders, such as {first}, have {count} images and none has a mask"
    yield Problem(tree.url, f"{text}: left out", fatal=False)


def _unmasked(images: Mapping[Key, list[File]], masked: Collection[Key]) -> dict[str, int]:
    """Folders of which no image at all has a mask, such as a test set without its truth."""
    count: dict[str, int] = defaultdict(int)
    known: set[str] = set()
    for key, mine in images.items():
        folder = str(mine[0].name.parent)
        count[folder] += len(mine)
        if key in masked:
            known.add(folder)
    return {folder: n for folder, n in count.items() if folder not in known}
