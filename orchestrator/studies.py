"""What was asked: studies, the trials they declared, and what people noted about them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.store import Store


@dataclass(frozen=True)
class Declared:
    """One trial of a study, as its key tells.

    A study whose space, data or formulas changed has a new revision: results of the old one stay,
    and are not averaged with those of the new.
    """

    study: str
    revision: str
    cell: str
    stage: str
    index: int
    digest: str

    @property
    def key(self) -> str:
        """Where it rests."""
        place = f"studies/{self.study}/{self.revision}/{self.cell}"
        return f"{place}/{self.stage}-{self.index:04d}-{self.digest}.json"


@dataclass(frozen=True)
class Studies:
    """Reads and writes of declarations, over one store."""

    store: Store

    def declare(self, declared: Declared, about: dict[str, Any]) -> None:
        """Note that a study wants this trial; the first word for a place in the study stands."""
        self.store.create(declared.key, _json(about))

    def declared(self, study: str | None = None, revision: str | None = None) -> list[Declared]:
        """Trials of one study or of all, of one revision or of all, in order; one listing."""
        prefix = "/".join(["studies", *filter(None, (study, revision)), ""])
        found: list[Declared] = []
        for key in self.store.list(prefix):
            path = key.removesuffix(".json").split("/")
            if len(path) == 5:
                stage, index, digest = path[4].split("-")
                found.append(Declared(path[1], path[2], path[3], stage, int(index), digest))
        return found

    def current(self, study: str | None = None) -> list[Declared]:
        """Trials of the current revision of one study, or of every study."""
        found: list[Declared] = []
        for name in [study] if study else sorted({d.study for d in self.declared()}):
            try:
                about = json.loads(self.store.get(f"studies/{name}/space.json"))
            except KeyError:  # no sweep of this study has started
                continue
            found += self.declared(name, about["revision"])
        return found

    def about(self, declared: Iterable[Declared]) -> dict[str, dict[str, Any]]:
        """What was written with each declaration, by key."""
        objects = self.store.get_many([d.key for d in declared])
        return {key: json.loads(value) for key, value in objects.items()}

    def describe(self, study: str, about: dict[str, Any]) -> None:
        """Keep a study's question beside its trials."""
        self.store.put(f"studies/{study}/space.json", _json(about))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
