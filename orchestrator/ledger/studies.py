"""Studies: the trials that they declared, their questions, and people's notes.

A trial is declared by an object of its own, or by a row of an object that many trials share, which
saves requests. Readers see no difference.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, cast

from orchestrator.formatting import printable
from orchestrator.ledger import declared_texts, shared_declarations
from orchestrator.ledger.declared import REQUIRED, Declaration, Declared, Description, Note
from orchestrator.ledger.declared_slots import parse_declaration, with_slot
from orchestrator.ledger.shared_declarations import is_shared
from orchestrator.ledger.stored_json import dump_object, parse_object, warn_once
from orchestrator.storage.object_store import Store

T = TypeVar("T")

LEAST_SHARED = 100
"""Fewer trials than this are declared by one object each."""
MOST_SHARED = 5000
"""Trials that share one object, at most."""


@dataclass(frozen=True)
class Studies:
    """The studies of a store."""

    store: Store

    # -- declared trials ----------------------------------------------------------------------

    def declare(self, slot: Declared, declaration: Declaration) -> None:
        """Declare a trial; the first declaration of a slot wins."""
        self.store.create(slot.key, dump_object(with_slot(slot.key, declaration)))

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
            first, name = batch[0][0], shared_declarations.name_of(value)
            self.store.create(f"studies/{first.study}/{first.revision}/{name}", value)

    def declared(
        self, study: str | None = None, revision: str | None = None, *, whole: bool = False
    ) -> list[Declared]:
        """Return the declared trials of one or all studies and revisions, sorted by key.

        One listing. A damaged object is reported and left out unless ``whole`` is set.

        Raises:
            ValueError: an object is damaged, and ``whole`` is set.
        """
        prefix = "/".join(["studies", *filter(None, (study, revision)), ""])
        return self._slots(self.store.list(prefix), whole=whole)

    def _slots(self, listed: list[str], *, whole: bool) -> list[Declared]:
        """Return the trials that listed objects declare, sorted by key."""
        shared = declared_texts.shared(self.store, filter(is_shared, listed), ["key"], whole=whole)
        keys = {*listed, *(str(key) for table in shared for key in table["key"].to_pylist())}
        return [slot for key in sorted(keys) if (slot := Declared.parse(key)) is not None]

    def current(self, study: str | None = None, *, strict: bool = False) -> list[Declared]:
        """Return the trials of a study's current revision, or of all studies not retired.

        One listing. A study whose description is damaged is reported and left out unless
        ``strict`` is set.

        Raises:
            ValueError: a description is damaged or gone, and ``strict`` is set.
        """
        keys = self.store.list(f"studies/{study}/" if study else "studies/")
        revisions: dict[tuple[str, str], list[str]] = {}
        for key in keys:
            name, revision = (*key.split("/"), "")[1:3]
            revisions.setdefault((name, revision), []).append(key)
        slots: list[Declared] = []
        for name in [study] if study else self._names(keys, retired=False):
            try:
                slots += self._slots(revisions.get((name, self._revision(name)), []), whole=False)
            except KeyError:
                if name not in self._names(keys, retired=True):  # no sweep of it has started
                    continue
                cure = f"swept again (or deleted: `segprint note {name} --delete`)"
                gone = f"studies/{name}/space.json is gone"
                if strict:
                    raise ValueError(f"{gone}: the study must first be {cure}") from None
                warn_once(f"{gone}; the trials of this study are left out until it is {cure}")
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
        texts = self._contents(slots).items()
        return {key: cast("Declaration", parse_declaration(key, text)) for key, text in texts}

    def undamaged(self, slots: Iterable[Declared]) -> dict[str, Declaration]:
        """Return what :meth:`declarations` does, without damaged ones, which are reported."""
        declarations: dict[str, Declaration] = {}
        for key, text in self._contents(slots).items():
            try:
                value = parse_declaration(key, text)
                absent = [name for name in REQUIRED if name not in value]
                if absent:
                    raise ValueError(f"{printable(key)} in the store lacks {', '.join(absent)}")
            except ValueError as error:
                warn_once(f"{error}; its trial is left out, see `segprint tables check`")
            else:
                declarations[key] = cast("Declaration", value)
        return declarations

    def lost(self, slots: Iterable[Declared]) -> list[str]:
        """Return the keys of declarations that were compacted and are gone.

        ``slots`` are all that are declared in their studies and revisions. A study of which nothing
        is left was deleted.
        """
        return declared_texts.lost(self.store, _by_revision(slots))

    def _contents(self, slots: Iterable[Declared]) -> dict[str, str | bytes]:
        """Return the stored JSON text of each trial's declaration, by the key of its slot."""
        return declared_texts.read(self.store, _by_revision(slots))

    def compact(self) -> None:
        """Copy the declarations of each study and revision into one object, for readers."""
        # An object that trials share already is None here.
        slots = (Declared.parse(key) for key in self.store.list("studies/"))
        own = (slot for slot in slots if slot is not None)
        declared_texts.compact(self.store, _by_revision(own))

    # -- studies ------------------------------------------------------------------------------

    def names(self, *, retired: bool = False) -> list[str]:
        """Return the names of the studies that declared a trial, with retired ones if asked."""
        return self._names(self.store.list("studies/"), retired=retired)

    def _names(self, keys: list[str], *, retired: bool) -> list[str]:
        """Return the names of the studies that declared a trial by an object in a listing."""
        noted = {key.split("/")[1] for key in keys if key.endswith("/note.json")}
        names = {key.split("/")[1] for key in keys if is_shared(key) or Declared.parse(key)}
        aside = {n for n in noted & names if not retired and self.note(n).get("retired")}
        return sorted(names - aside)

    def describe(self, study: str, description: Description) -> None:
        """Write a study's question and current revision."""
        self.store.put(f"studies/{study}/space.json", dump_object(description))

    def description(self, study: str) -> Description | None:
        """Return the content of a study's ``space.json``; None if there is none.

        Raises:
            ValueError: it is damaged.
        """
        try:
            return cast("Description", self._read_json(f"studies/{study}/space.json"))
        except KeyError:
            return None

    def question(self, study: str) -> str:
        """Return a study's question; empty if it is not known, or if its description is damaged."""
        return str(self._described(study, "question") or "")

    def baseline(self, study: str) -> str | None:
        """Return the name of a study's baseline; None if it names none or is not known."""
        name = self._described(study, "baseline")
        return None if name is None else str(name)

    def _described(self, study: str, name: str) -> Any:
        """Return a field of a study's description; None if it is not known."""
        try:
            description = self.description(study)
        except ValueError as error:
            warn_once(f"{error}; the {name} of this study is left out")
            return None
        return None if description is None else description.get(name)

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
        copy = declared_texts.copy_key(study, "").removesuffix(".parquet")
        copies = [k for k in self.store.list(declared_texts.COMPACTED) if k.startswith(copy)]
        description = f"studies/{study}/space.json"
        # Without its description, what is left after a kill is no study.
        for key in [description, *copies, *(key for key in keys if key != description)]:
            self.store.delete(key)
        return len(keys)

    def _read_json(self, key: str) -> dict[str, Any]:
        """Read a small JSON object, which a person may have edited."""
        return parse_object(key, self.store.get(key))


def _by_revision(slots: Iterable[Declared]) -> dict[declared_texts.Revision, list[str]]:
    """Return the keys of slots, by study and revision."""
    revisions: dict[declared_texts.Revision, list[str]] = {}
    for slot in slots:
        revisions.setdefault((slot.study, slot.revision), []).append(slot.key)
    return revisions


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` items, as ``itertools.batched`` of Python 3.12 does."""
    left = iter(items)
    while batch := list(itertools.islice(left, size)):
        yield batch
