"""Masks of several annotators: in ``masks_1`` and on, or ``masks/rater1`` and on."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from trainables.decoding.layout import MASKS, Key, folder_of, normal
from trainables.decoding.tree import File, Tree
from trainables.interfaces.dataset import Problem

NUMBERED = rf"(?:{'|'.join(MASKS)})(\d+)"
"""A folder of the masks of one annotator, such as ``masks_1``, without ``_``, ``-`` and spaces."""
PERSON = r"(?:rater|annotator|reader|expert|observer)[ _-]?\w+"
"""A folder of one annotator around or within a folder of masks."""


class Annotated(NamedTuple):
    """The masks of several annotators."""

    files: dict[Key, dict[str, File]]
    """The mask of each annotator, by the key of the image; annotators in the order of numbers."""
    problems: list[Problem]
    """Images whose annotators are not those of most images, and masks that are not read."""


def annotated(tree: Tree, suffixes: Sequence[str], masked: Collection[Key]) -> Annotated:
    """Return the masks of several annotators; ``masked`` are keys that have an ordinary mask.

    An ordinary mask comes first: the annotators' masks of the same key are then not read.
    """
    found: dict[Key, dict[str, File]] = defaultdict(dict)
    problems: list[Problem] = []
    for file in tree.files:
        place = _place(file.name, file.stem) if file.suffix in suffixes else None
        if place is not None:
            key, name = place
            twin = found[key].setdefault(name, file)
            if twin is not file:
                problems.append(Problem(file.path, f"has the same annotator as {twin.path}"))
    unread = [file for key, of in found.items() if key in masked for file in of.values()]
    if unread:
        rule = "is one annotator's mask and not read, since its image has a mask in another folder"
        problems.append(Problem(unread[0].path, rule, fatal=False))
    files = {k: dict(sorted(of.items(), key=_order)) for k, of in found.items() if k not in masked}
    return Annotated(files, [*problems, *_unlike(files)])


def _place(path: PurePosixPath, stem: str) -> tuple[Key, str] | None:
    """The key of an annotator's mask and the annotator's name; None for another file.

    >>> _place(PurePosixPath("train/masks_2/a.png"), "a")
    (('train', 'a'), '2')
    >>> _place(PurePosixPath("masks/Rater_b/a.png"), "a")
    (('a',), 'Rater_b')
    >>> _place(PurePosixPath("masks/2/a.png"), "a") is None
    True
    """
    folders, masks = path.parts[:-1], folder_of(path, MASKS)
    for i, part in enumerate(folders):
        numbered = re.fullmatch(NUMBERED, re.sub("[ _-]", "", part.lower()))
        named = masks is not None and re.fullmatch(PERSON, part, re.IGNORECASE)
        if numbered or named:
            left_out = {i} if masks is None else {i, masks[0]}
            around = (folder for k, folder in enumerate(folders) if k not in left_out)
            split = masks[1] if masks is not None else ""
            return normal((*filter(None, (split, *around)), stem)), numbered[
                1
            ] if numbered else part
    return None


def _order(item: tuple[str, File]) -> tuple[int, str]:
    """Sort annotators by the number in their name."""
    digits = re.search(r"\d+", item[0])
    return int(digits[0]) if digits is not None else 0, item[0]


def _unlike(files: Mapping[Key, Mapping[str, File]]) -> Iterator[Problem]:
    """Images whose annotators are not those of most images; more annotators if equally many are."""
    counts = Counter(tuple(of) for of in files.values())
    usual = max(counts, key=lambda names: (counts[names], len(names)), default=())
    for of in files.values():
        if tuple(of) != usual:
            mine, others = (
                f"{len(names)} annotators ({', '.join(names)})" for names in (of, usual)
            )
            rule = f"is of an image with masks of {mine}; other images have {others}"
            yield Problem(next(iter(of.values())).path, rule)
