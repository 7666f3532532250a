"""What was asked: studies, the trials they declared, and what people noted about them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.parquet import parquet
from orchestrator.storage.object_store import Store

log = logging.getLogger("segprint.tables")
T = TypeVar("T")
KEPT = "tables/declared/"
"""Below it, what was declared, one object per study and revision."""

WORTH, IN_ONE = 100, 5000
"""Trials that are declared at once in one object: from so many on, and at most."""


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

    @staticmethod
    def parse(key: str) -> list[Declared]:
        """The trial that a key tells of, if it is the key of one."""
        path = key.removesuffix(".json").split("/")
        parts = path[4].split("-") if len(path) == 5 else []
        if len(parts) != 3 or not parts[1].isdigit():
            return []
        stage, index, digest = parts
        return [Declared(path[1], path[2], path[3], stage, int(index), digest)]


@dataclass(frozen=True)
class Studies:
    """Reads and writes of declarations, over one store."""

    store: Store

    def declare(self, declared: Declared, about: dict[str, Any]) -> None:
        """Note that a study wants this trial; the first word for a place in the study stands."""
        self.store.create(declared.key, _json(about))

    def declare_all(self, trials: Iterable[tuple[Declared, dict[str, Any]]]) -> None:
        """Note trials of one study and revision; many of them share an object.

        An object is there whole or not at all, and named by its content: who dies between two of
        them, or declares the same again, leaves nothing that is wrong.
        """
        for some in _groups(trials, IN_ONE):
            if len(some) < WORTH:
                for declared, about in some:
                    self.declare(declared, about)
                continue
            rows = [{"key": d.key, "about": json.dumps(a, sort_keys=True)} for d, a in some]
            value = parquet(pa.Table.from_pylist(rows, _KEPT))
            first, name = some[0][0], hashlib.sha256(value).hexdigest()[:16]
            self.store.create(f"studies/{first.study}/{first.revision}/{name}.parquet", value)

    def declared(
        self, study: str | None = None, revision: str | None = None, *, whole: bool = False
    ) -> list[Declared]:
        """Trials of one study or of all, of one revision or of all, in order; one listing.

        A damaged object is named and left out, unless it must be the ``whole``.

        Raises:
            ValueError: an object is damaged, where the whole is asked for.
        """
        prefix = "/".join(["studies", *filter(None, (study, revision)), ""])
        listed = self.store.list(prefix)
        shared = self._shared([key for key in listed if _is_shared(key)], ["key"], whole=whole)
        keys = {*listed, *(str(key) for table in shared for key in table["key"].to_pylist())}
        return [declared for key in sorted(keys) for declared in Declared.parse(key)]

    def _shared(self, keys: list[str], columns: list[str], *, whole: bool) -> list[pa.Table]:
        """What objects with many declarations say."""
        found: list[pa.Table] = []
        for key, value in self.store.get_many(keys).items():
            try:
                found.append(_table(key, value, columns))
            except ValueError as error:
                if whole:
                    raise
                _name(f"{error}; its trials are left out, see `segprint tables check`")
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
        """Declarations by key that share an object; one that does not is read by itself."""
        listed = self.store.list(f"studies/{study}/{revision}/")
        keys = [key for key in listed if _is_shared(key)]
        tables = self._shared(keys, _KEPT.names, whole=False)
        with contextlib.suppress(ValueError):  # damaged: it is made of the others, again
            tables += self._shared([_kept_key(study, revision)], _KEPT.names, whole=True)
        return {
            key: about
            for table in tables
            for key, about in zip(*(table[n].to_pylist() for n in _KEPT.names), strict=True)
        }

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
        kept = [key for key in self.store.list(KEPT) if key.startswith(f"{KEPT}{study}-")]
        for key in [*keys, *kept]:
            self.store.delete(key)
        return len(keys)

    def names(self, *, retired: bool = False) -> list[str]:
        """Studies that have a trial, the retired ones too if asked for."""
        keys = self.store.list("studies/")
        found = sorted({k.split("/")[1] for k in keys if Declared.parse(k) or _is_shared(k)})
        return [n for n in found if retired or not self.note(n).get("retired")]

    def question(self, study: str) -> str:
        """What a study asks; empty if that is not known."""
        try:
            return str(_parsed(f"studies/{study}/space.json", self.store).get("question", ""))
        except KeyError:
            return ""

    def describe(self, study: str, about: dict[str, Any]) -> None:
        """Keep a study's question beside its trials."""
        self.store.put(f"studies/{study}/space.json", _json(about))


@functools.cache
def _name(problem: str) -> None:
    """Once in a process, however often it is read."""
    log.warning("segprint: %s", problem)


def _groups(trials: Iterable[T], size: int) -> Iterator[list[T]]:
    """``itertools.batched``, which Python 3.11 has not."""
    left = iter(trials)
    while some := list(itertools.islice(left, size)):
        yield some


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


def verify(key: str, value: bytes) -> None:
    """Raise ``ValueError`` unless this is what an object below ``studies/`` may be."""
    if _is_shared(key):
        _table(key, value, _KEPT.names)
    else:
        json.loads(value)


def _table(key: str, value: bytes, columns: list[str]) -> pa.Table:
    try:
        reader = pq.ParquetFile(io.BytesIO(value), page_checksum_verification=True)
        return reader.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{key} in the store does not parse: {error}") from None


def _is_shared(key: str) -> bool:
    return key.startswith("studies/") and key.endswith(".parquet")


def _kept_key(study: str, revision: str) -> str:
    return f"{KEPT}{study}-{revision}.parquet"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
