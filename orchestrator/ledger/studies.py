"""Studies: the trials that they declared, their questions, and people's notes.

A trial is declared by an object of its own, or by a row of an object that many trials share, which
saves requests. Readers see no difference.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, TypeVar, Unpack, cast

import pyarrow as pa

from orchestrator.formatting import printable
from orchestrator.ledger import shared_declarations
from orchestrator.ledger.shared_declarations import is_shared
from orchestrator.ledger.stored_json import dump_object, is_text, parse_object, warn_once
from orchestrator.storage.object_store import Store
from search_spaces._types import LONGEST_NAME

T = TypeVar("T")

COMPACTED = "tables/declared/"
"""Below it are copies of the declarations, one object per study and revision."""
REQUIRED = ("arm", "config", "values")
"""The fields that every declaration has."""
LEAST_SHARED = 100
"""Fewer trials than this are declared by one object each."""
MOST_SHARED = 5000
"""Trials that share one object, at most."""


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
    committed_before: NotRequired[bool]
    """Whether another study had trained it when it was declared."""


class Description(TypedDict):
    """The content of a study's ``space.json``."""

    question: str
    arms: list[str]
    revision: str
    """The current revision."""


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


@dataclass(frozen=True)
class Studies:
    """The studies of a store."""

    store: Store

    # -- declared trials ----------------------------------------------------------------------

    def declare(self, slot: Declared, declaration: Declaration) -> None:
        """Declare a trial; the first declaration of a slot wins."""
        self.store.create(slot.key, dump_object(declaration))

    def declare_all(self, trials: Iterable[tuple[Declared, Declaration]]) -> None:
        """Declare trials of one study and revision; many of them share an object.

        A shared object is named by its content. So an interrupted call leaves only valid
        declarations, and a repeated one writes nothing new.
        """
        for batch in _batched(trials, MOST_SHARED):
            if len(batch) < LEAST_SHARED:
                for slot, declaration in batch:
                    self.declare(slot, declaration)
                continue
            value = shared_declarations.dump(
                {slot.key: json.dumps(content, sort_keys=True) for slot, content in batch}
            )
            first, name = batch[0][0], hashlib.sha256(value).hexdigest()[:16]
            self.store.create(f"studies/{first.study}/{first.revision}/{name}.parquet", value)

    def declared(
        self, study: str | None = None, revision: str | None = None, *, whole: bool = False
    ) -> list[Declared]:
        """Return the declared trials of one or all studies and revisions, sorted by key.

        One listing. A damaged object is reported and left out unless ``whole`` is set.

        Raises:
            ValueError: an object is damaged, and ``whole`` is set.
        """
        prefix = "/".join(["studies", *filter(None, (study, revision)), ""])
        listed = self.store.list(prefix)
        shared = self._shared([key for key in listed if is_shared(key)], ["key"], whole=whole)
        keys = {*listed, *(str(key) for table in shared for key in table["key"].to_pylist())}
        return [slot for key in sorted(keys) if (slot := Declared.parse(key)) is not None]

    def current(self, study: str | None = None, *, strict: bool = False) -> list[Declared]:
        """Return the trials of a study's current revision, or of all studies not retired.

        A study whose description is damaged is reported and left out unless ``strict`` is set.

        Raises:
            ValueError: a description is damaged, and ``strict`` is set.
        """
        slots: list[Declared] = []
        for name in [study] if study else self.names():
            try:
                slots += self.declared(name, self._revision(name))
            except KeyError:  # no sweep of this study has started
                continue
            except ValueError as error:
                if strict:
                    raise
                warn_once(f"{error}; the trials of this study are left out")
        return slots

    def _revision(self, study: str) -> str:
        """Return a study's current revision.

        Raises:
            KeyError: no sweep of this study has started.
            ValueError: the description is damaged.
        """
        key = f"studies/{study}/space.json"
        revision = self._read_json(key).get("revision")
        if not isinstance(revision, str) or not re.fullmatch(r"\w+", revision):
            raise ValueError(f"{printable(key)} in the store: revision={revision!r} must be a hash")
        return revision

    def declarations(self, slots: Iterable[Declared]) -> dict[str, Declaration]:
        """Return what is declared about each trial, by the key of its slot.

        Raises:
            ValueError: a declaration is damaged; names its key.
        """
        contents = self._contents(slots)
        return {key: cast("Declaration", parse_object(key, text)) for key, text in contents.items()}

    def undamaged(self, slots: Iterable[Declared]) -> dict[str, Declaration]:
        """Return what :meth:`declarations` does, without damaged ones, which are reported."""
        declarations: dict[str, Declaration] = {}
        for key, text in self._contents(slots).items():
            try:
                value = parse_object(key, text)
                absent = [name for name in REQUIRED if name not in value]
                if absent:
                    raise ValueError(f"{printable(key)} in the store lacks {', '.join(absent)}")
            except ValueError as error:
                warn_once(f"{error}; its trial is left out, see `segprint tables check`")
            else:
                declarations[key] = cast("Declaration", value)
        return declarations

    def _contents(self, slots: Iterable[Declared]) -> dict[str, str | bytes]:
        """Return the stored JSON text of each trial's declaration, by the key of its slot."""
        keys = {slot.key: (slot.study, slot.revision) for slot in slots}
        contents: dict[str, str | bytes] = {}
        for revision in sorted(set(keys.values())):
            contents |= self._together(*revision)
        contents |= self.store.get_many([key for key in keys if key not in contents])
        return {key: contents[key] for key in keys if key in contents}

    def compact(self) -> None:
        """Copy the declarations of each study and revision into one object, for readers."""
        revisions: dict[tuple[str, str], list[str]] = {}
        for slot in self.declared():
            revisions.setdefault((slot.study, slot.revision), []).append(slot.key)
        for revision, keys in revisions.items():
            contents = self._together(*revision)
            missing = [key for key in keys if key not in contents]
            if missing:
                contents |= self.store.get_many(missing)
                rows = {key: contents[key] for key in keys if is_text(contents.get(key))}
                self.store.put(_compacted_key(*revision), shared_declarations.dump(rows))

    def _together(self, study: str, revision: str) -> dict[str, str | bytes]:
        """Return the declarations that shared and compacted objects hold, by slot key."""
        listed = self.store.list(f"studies/{study}/{revision}/")
        columns = shared_declarations.SCHEMA.names
        tables = self._shared([key for key in listed if is_shared(key)], columns, whole=False)
        with contextlib.suppress(ValueError):  # a damaged copy is made again from the originals
            tables += self._shared([_compacted_key(study, revision)], columns, whole=True)
        return {
            key: content
            for table in tables
            for key, content in zip(*(table[c].to_pylist() for c in columns), strict=True)
        }

    def _shared(self, keys: list[str], columns: list[str], *, whole: bool) -> list[pa.Table]:
        """Read objects that many declarations share; see :meth:`declared` for ``whole``."""
        tables: list[pa.Table] = []
        for key, value in self.store.get_many(keys).items():
            try:
                tables.append(shared_declarations.load(key, value, columns))
            except ValueError as error:
                if whole:
                    raise
                warn_once(f"{error}; its trials are left out, see `segprint tables check`")
        return tables

    # -- studies ------------------------------------------------------------------------------

    def names(self, *, retired: bool = False) -> list[str]:
        """Return the names of the studies that declared a trial, with retired ones if asked."""
        keys = self.store.list("studies/")
        names = {key.split("/")[1] for key in keys if is_shared(key) or Declared.parse(key)}
        return [name for name in sorted(names) if retired or not self.note(name).get("retired")]

    def describe(self, study: str, description: Description) -> None:
        """Write a study's question and current revision."""
        self.store.put(f"studies/{study}/space.json", dump_object(description))

    def question(self, study: str) -> str:
        """Return a study's question; empty if it is not known, or if its description is damaged."""
        try:
            return str(self._read_json(f"studies/{study}/space.json").get("question", ""))
        except KeyError:
            return ""
        except ValueError as error:
            warn_once(f"{error}; the question of this study is left out")
            return ""

    def note(self, study: str) -> Note:
        """Return what people noted about a study; empty if nothing, or if it is damaged."""
        try:
            return self._note(study)
        except ValueError as error:
            warn_once(f"{error}; this note is left out")
            return {}

    def _note(self, study: str) -> Note:
        """Return what people noted about a study; empty if nothing.

        Raises:
            ValueError: the note is damaged.
        """
        key = f"studies/{study}/note.json"
        try:
            note = self._read_json(key)
        except KeyError:
            return {}
        tags: Any = note.get("tags", [])
        if not isinstance(tags, list) or {type(tag) for tag in cast("list[Any]", tags)} - {str}:
            raise ValueError(f"{printable(key)} in the store: tags={tags!r} must be a list of text")
        return cast("Note", note)

    def annotate(self, study: str, **changes: Unpack[Note]) -> None:
        """Change what is noted about a study; sweeps do not touch it."""
        note: Note = {**self._note(study), **changes}
        self.store.put(f"studies/{study}/note.json", dump_object(note))

    def forget(self, study: str) -> int:
        """Delete a study's declarations, but no result; return how many objects there were."""
        keys = self.store.list(f"studies/{study}/")
        copy = _compacted_key(study, "").removesuffix(".parquet")
        copies = [k for k in self.store.list(COMPACTED) if k.startswith(copy)]
        for key in [*keys, *copies]:
            self.store.delete(key)
        return len(keys)

    def _read_json(self, key: str) -> dict[str, Any]:
        """Read a small JSON object, which a person may have edited."""
        return parse_object(key, self.store.get(key))


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` items, as ``itertools.batched`` of Python 3.12 does."""
    left = iter(items)
    while batch := list(itertools.islice(left, size)):
        yield batch


def _compacted_key(study: str, revision: str) -> str:
    """Return the key of a copy; a name that would be too long for a file's name is hashed."""
    if len(study.encode()) > LONGEST_NAME:
        study = hashlib.sha256(study.encode()).hexdigest()
    return f"{COMPACTED}{study}-{revision}.parquet"
