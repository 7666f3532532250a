"""What a study stores about itself and its trials, and the keys of declared trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

REQUIRED = ("arm", "config", "values")
"""The fields that every declaration has."""


class Declaration(TypedDict):
    """The declaration of a trial by a study; only the config decides the trial's numbers."""

    arm: str
    config: dict[str, Any]
    """The plain config (:meth:`trainables.config.Config.plain`)."""
    values: dict[str, Any]
    """The suggested values of the searched parameters, by parameter name."""
    workers: NotRequired[Any]
    trainings: NotRequired[list[str]]
    """The digests of the trainings that the trial reads."""
    keep: NotRequired[str]
    """Which weights the study keeps (``Space.keep``); earlier declarations keep those of all."""
    committed_before: NotRequired[bool]
    """Whether another study had trained it when it was declared."""


class Description(TypedDict):
    """The content of a study's ``space.json``."""

    question: str
    arms: list[str]
    revision: str
    """The current revision."""
    baseline: NotRequired[str | None]
    """The arm or grid value that all others are compared with."""


class Note(TypedDict, total=False):
    """The note and the tags that people gave a study, and whether they retired it."""

    note: str
    tags: list[str]
    retired: bool


@dataclass(frozen=True)
class Declared:
    """The slot of a declared trial in its study, as the key of its declaration names it.

    A study whose space, data or formulas changed has a new revision: results of the old one stay,
    and are not averaged with those of the new one.
    """

    study: str
    revision: str
    cell: str
    stage: str
    index: int
    digest: str

    @property
    def key(self) -> str:
        """Where the declaration is stored, unless it shares an object with others."""
        folder = f"studies/{self.study}/{self.revision}/{self.cell}"
        return f"{folder}/{self.stage}-{self.index:04d}-{self.digest}.json"

    @staticmethod
    def parse(key: str) -> Declared | None:
        """Read a key; None if it is not the key of a declared trial."""
        path = key.removesuffix(".json").split("/")
        parts = path[4].split("-") if len(path) == 5 else []
        if len(parts) != 3 or not parts[1].isdigit():
            return None
        stage, index, digest = parts
        return Declared(path[1], path[2], path[3], stage, int(index), digest)
