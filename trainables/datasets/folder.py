"""Any folder of images and masks of the same names, with or without a split file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainables.datasets import Located, Problem, Source, check_names
from trainables.decoding.pairs import paired, reader, sources
from trainables.decoding.splits import with_split_file


@dataclass(frozen=True)
class Folder(Located):
    """``images/`` and ``masks/``, paired by stem; PNG, JPEG, TIFF or BMP of 8 or 16 bit.

    Splits come from ``split.csv`` (``name``, and ``split`` or ``patient`` or both), or from folders
    around ``images`` and ``masks`` (``train/images``). What is missing is cut off by the patients'
    names, a fifth each; without patients every image stands for itself.
    """

    licence: ClassVar[str] = "the user's own"
    citation: ClassVar[str] = "the user's own"
    obtain: ClassVar[str] = "put images/ and masks/ there; nothing is downloaded"

    foreground: tuple[str, ...] = ("foreground",)
    """Names of the classes 1, 2, ...; a mask's 0 is background."""
    background: str = "background"
    colour: bool = True
    """Three channels, or one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.background, *self.foreground)

    @property
    def channels(self) -> int:
        return 3 if self.colour else 1

    def scan(self) -> Iterator[Source | Problem]:
        tree = self.tree()
        yield from tree.problems
        pairs = with_split_file(paired(tree), tree)
        yield from sources(pairs, reader(self.channels, self.classes))
