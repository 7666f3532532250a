"""Any folder of images and masks of the same names, with or without a split file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from trainables.datasets import Located, Problem, Source, check_names
from trainables.decoding.images import channels_of
from trainables.decoding.labels import Legend, check_values, classes_of, ignores
from trainables.decoding.layout import by_patient
from trainables.decoding.matching import paired
from trainables.decoding.pairs import Pair, object_reader, reader, sources
from trainables.decoding.splits import with_split_file
from trainables.decoding.tree import Tree
from trainables.part import require
from trainables.part_fields import later


@dataclass(frozen=True)
class Folder(Located):
    """``images/`` and ``masks/``, paired by stem; PNG, JPEG, TIFF or BMP of 8 or 16 bit.

    Other layouts that are read are those of :func:`trainables.decoding.matching.paired`. Splits
    come from ``split.csv`` (``name``, and ``split`` or ``patient`` or both), or from folders around
    ``images`` and ``masks`` (``train/images``). What is missing is cut off by the patients' names,
    a fifth each; without patients every image stands for itself.
    """

    licence: ClassVar[str] = "the user's own"
    citation: ClassVar[str] = "the user's own"
    obtain: ClassVar[str] = "put images/ and masks/ there; nothing is downloaded"

    foreground: tuple[str, ...] = ("foreground",)
    """Names of the classes 1, 2, ...; a mask's 0 is background."""
    background: str = "background"
    """The name of class 0."""
    colour: bool = True
    """Three channels, or one; images in grey and in colour are converted."""
    values: tuple[tuple[int, str], ...] = later(())
    """The class of each number in the masks, such as ``{0: background, 2: liver, 3: liver, 255:
    ignore}``, instead of ``foreground`` and ``background``; pixels of the class ``ignore`` count
    nowhere. Empty: 0, 1, ..., and of two classes also 0 and the largest value."""
    modalities: int = later(0)
    """Channels of every image, such as 2 or 4 of microscopy; 0: as ``colour`` says."""
    patients: bool = later(True)
    """Whether images of one patient or scan, as folders (``patient07/images``) or names
    (``patient07_z012``) give it, stay in one split; a split file says more."""

    objects: bool = later(False)
    """Whether a mask holds a number per object, 0 for none, and not one per class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.objects or (len(self.foreground) == 1 and not self.values),
            f"objects=true needs one class of objects, not {list(self.foreground)} or values=",
        )
        check_values(
            self.values,
            foreground=self.foreground == Folder.foreground,
            background=self.background == Folder.background,
        )
        check_names(self.classes)
        require(self.modalities >= 0, f"modalities={self.modalities} must not be negative")

    @property
    def classes(self) -> tuple[str, ...]:
        return classes_of(self.values) or (self.background, *self.foreground)

    @property
    def ignores(self) -> bool:
        return ignores(self.values)

    @property
    def channels(self) -> int:
        return self.modalities or (3 if self.colour else 1)

    @classmethod
    def sensed(cls, files: Tree) -> dict[str, Any]:
        """Return the field for the channels of the first image, where they are not 1 or 3."""
        pairs = paired(files, Legend(("background", "foreground")))
        first = next((item for item in pairs if isinstance(item, Pair)), None)
        if first is None:
            return {}
        try:
            channels = 1 + len(first.channels) if first.channels else channels_of(first.image)
        except ValueError:  # the check says what is wrong
            return {}
        return {} if channels in (1, 3) else {"modalities": channels}

    def scan(self) -> Iterator[Source | Problem]:
        tree = self.tree()
        yield from tree.problems
        legend = Legend(self.classes, self.values)
        pairs = paired(tree, legend)
        if self.patients:
            pairs = by_patient(pairs)
        read = object_reader(self.channels) if self.objects else reader(self.channels, legend)
        yield from sources(with_split_file(pairs, tree), read)
