"""Tissue classes in HER2-stained breast cancer: patches, indexed masks, a patient-wise split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainables.datasets import Located, Problem, Source, check_names
from trainables.decoding.labels import Legend
from trainables.decoding.matching import paired
from trainables.decoding.pairs import reader, sources
from trainables.decoding.splits import split_tables, with_split_file


@dataclass(frozen=True)
class HER2(Located):
    """``images/*.png`` in RGB, ``labels/*.png`` indexed, and ``split.csv``.

    The split file has the columns ``name``, ``patient`` and ``split``. The data of the published
    study are private, so its numbers cannot be reproduced without them: this is the slot for those
    who have them, or have data like them. The classes' names are the user's to give.
    """

    licence: ClassVar[str] = "private"
    citation: ClassVar[str] = "Öttl et al. 2024, arXiv 2403.14440"
    obtain: ClassVar[str] = (
        "the data are private: ask the study's authors; put images/, labels/ and split.csv there"
    )

    foreground: tuple[str, ...] = ("tumour",)
    """Names of the classes 1, 2, ...; a mask's 0 is background."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", *self.foreground)

    @property
    def channels(self) -> int:
        return 3

    def scan(self) -> Iterator[Source | Problem]:
        tree = self.tree()
        yield from tree.problems
        table, _ = split_tables(tree)
        if table is None:
            yield Problem("split.csv", "is missing: it says name, patient and split of every patch")
            return
        legend = Legend(self.classes)
        pairs = with_split_file(paired(tree, legend), tree, ("name", "patient", "split"))
        yield from sources(pairs, reader(self.channels, legend))
