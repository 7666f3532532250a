"""The names of folders and files: images, masks, splits and patients."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import cast

from trainables.decoding.pairs import Pair
from trainables.decoding.tree import File, Tree
from trainables.interfaces.dataset import Problem, Split

IMAGES = ("images", "image", "img", "imgs")
MASKS = (
    *("masks", "mask", "labels", "label", "labelcol", "annotations", "annotation", "groundtruth"),
    *("gt", "segmentations", "segmentation", "segs", "seg"),
)
PERSON = r"(?:patient|pat|pt|subject|subj|sub)[ _-]?\d+"
CASE = r"(?:case|volume|vol)[ _-]?\d+"
"""Numbered names of which several images may be: of people, or of scans."""
SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "tr"), cast("Split", "train")),
    **dict.fromkeys(("val", "valid", "validation"), cast("Split", "val")),
    **dict.fromkeys(("test", "testing", "ts"), cast("Split", "test")),
}
ABBREVIATED: dict[str, Split] = {"tr": "train", "va": "val", "ts": "test"}
"""After the name of a folder, as in nnU-Net's ``imagesTr``."""


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
        found = re.fullmatch(_named(names), re.sub("[ _-]", "", path.parts[i].lower()))
        if found is not None:
            return i, found[2] or ""
    return None


Key = tuple[str, ...]
"""The path of a file without the named folder, and with its stem instead of its name."""
Keyed = dict[Key, list[File]]


def by_key(tree: Tree, names: Sequence[str], suffixes: Sequence[str]) -> Keyed:
    """The files in folders of some names, at any depth."""
    found: Keyed = defaultdict(list)
    for file in tree.files:
        at = folder_of(file.name, names) if file.suffix in suffixes else None
        if at is not None:
            parts = file.name.parts
            around = (*parts[: at[0]], at[1], *parts[at[0] + 1 : -1])
            found[normal((*filter(None, around), file.stem))].append(file)
    return found


def normal(key: Key) -> Key:
    """The key with every letter in one form: file systems differ in it."""
    return tuple(unicodedata.normalize("NFC", part) for part in key)


def by_patient(items: Iterable[Pair | Problem]) -> Iterator[Pair | Problem]:
    """Pairs with the patients that their folders or names give, where one has several images."""
    listed = list(items)
    people = {i.name: patient_of(i.name) for i in listed if isinstance(i, Pair)}
    named = set(people.values())
    people |= {n: bare for n in people if people[n] is None and (bare := _bare(n)) in named}
    counts = Counter(person for person in people.values() if person is not None)
    several = {person for person, count in counts.items() if count > 1}
    if several:
        first = next(i for i in listed if isinstance(i, Pair) and people[i.name] in several)
        rule = (
            f"belongs to {people[first.name]} by its name: the images of {len(several)} patients or"
            " scans are kept in one split each; patients=false: every image stands for itself"
        )
        yield Problem(first.image.path, rule, fatal=False)
    for item in listed:
        if isinstance(item, Pair) and item.group is None and people[item.name] in several:
            yield dataclasses.replace(item, group=people[item.name])
        else:
            yield item


def _bare(name: str) -> str | None:
    """The patient or scan of a name without more, such as ``patient07`` beside ``patient07_b``."""
    return patient_of(f"{name}_")


def patient_of(name: str) -> str | None:
    """The patient, or the scan, that the name of an image gives.

    The number of a person means the same in every folder, that of a case only within its folder.

    >>> patient_of("train/patient07/a"), patient_of("train/case_3_z012"), patient_of("lesion_12")
    ('patient07', 'train/case_3', None)
    """
    *folders, stem = name.split("/")
    for i, part in enumerate(folders):
        if re.fullmatch(PERSON, part, re.IGNORECASE):
            return part
        if re.fullmatch(CASE, part, re.IGNORECASE):
            return "/".join(folders[: i + 1])
    person = re.match(rf"({PERSON})(?=[ _.-])", stem, re.IGNORECASE)
    if person is not None:
        return person[1]
    case = re.match(rf"({CASE})(?=[ _.-])", stem, re.IGNORECASE)
    return "/".join([*folders, case[1]]) if case is not None else None
