"""What was asked: studies, the trials they declared, and what people noted about them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.parts import parquet
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
            parts = path[4].split("-") if len(path) == 5 else []
            if len(parts) == 3 and parts[1].isdigit():
                stage, index, digest = parts
                found.append(Declared(path[1], path[2], path[3], stage, int(index), digest))
        return found

    def current(self, study: str | None = None) -> list[Declared]:
        """Trials of the current revision of one study, or of every study that is not retired."""
        found: list[Declared] = []
        for name in [study] if study else self.names():
            try:
                about = _parsed(f"studies/{name}/space.json", self.store)
            except KeyError:  # no sweep of this study has started
                continue
            found += self.declared(name, about["revision"])
        return found

    def about(self, declared: Iterable[Declared]) -> dict[str, dict[str, Any]]:
        """What was written with each declaration, by key."""
        listed = list(declared)
        kept: dict[str, str | bytes] = {}
        for place in sorted({(d.study, d.revision) for d in listed}):
            kept |= self._kept(*place)
        missing = [d.key for d in listed if d.key not in kept]
        kept |= self.store.get_many(missing)
        return {d.key: json.loads(kept[d.key]) for d in listed}

    def fold(self) -> None:
        """Keep what was declared in one object per study and revision, to be read at once."""
        places: dict[tuple[str, str], list[str]] = {}
        for d in self.declared():
            places.setdefault((d.study, d.revision), []).append(d.key)
        for place, keys in places.items():
            kept = self._kept(*place)
            if not set(keys) <= kept.keys():
                kept |= self.store.get_many([key for key in keys if key not in kept])
                rows = [{"key": key, "about": kept[key]} for key in keys if key in kept]
                self.store.put(_kept_key(*place), parquet(pa.Table.from_pylist(rows, _KEPT)))

    def _kept(self, study: str, revision: str) -> dict[str, str | bytes]:
        """Declarations by key, as they were kept; one that is not can still be read by itself."""
        try:
            table = pq.read_table(io.BytesIO(self.store.get(_kept_key(study, revision))))
        except (KeyError, pa.ArrowInvalid, OSError):
            return {}
        return dict(zip(table["key"].to_pylist(), table["about"].to_pylist(), strict=True))

    def note(self, study: str) -> dict[str, Any]:
        """What people noted: ``note``, ``tags``, ``retired``; empty if nothing."""
        try:
            return _parsed(f"studies/{study}/note.json", self.store)
        except KeyError:
            return {}

    def annotate(self, study: str, **changes: Any) -> None:
        """Change what is noted about a study; sweeping it again does not touch that."""
        noted = {**self.note(study), **changes}
        self.store.put(f"studies/{study}/note.json", _json(noted))

    def forget(self, study: str) -> int:
        """Delete a study's declarations, not what was trained for it; how many there were."""
        keys = self.store.list(f"studies/{study}/")
        for key in keys:
            self.store.delete(key)
        return len(keys)

    def names(self, *, retired: bool = False) -> list[str]:
        """Studies that have a trial, the retired ones too if asked for."""
        found = sorted({d.study for d in self.declared()})
        return [n for n in found if retired or not self.note(n).get("retired")]

    def describe(self, study: str, about: dict[str, Any]) -> None:
        """Keep a study's question beside its trials."""
        self.store.put(f"studies/{study}/space.json", _json(about))


def _parsed(key: str, store: Store) -> dict[str, Any]:
    """A small JSON object, which a person may have edited."""
    try:
        value = json.loads(store.get(key))
    except ValueError as error:
        raise ValueError(f"{key} in the store does not parse: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{key} in the store must be a JSON object")
    return cast("dict[str, Any]", value)


_KEPT = pa.schema([("key", pa.string()), ("about", pa.string())])


def _kept_key(study: str, revision: str) -> str:
    return f"tables/declared/{study}-{revision}.parquet"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
