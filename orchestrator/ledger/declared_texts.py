"""The stored texts of declarations: single objects, shared objects, and copies for readers.

A compaction copies the declarations of a study and revision into one object below ``tables/``.
Readers look there first, so that a study takes one request, whatever its number of trials.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from orchestrator.ledger import shared_declarations
from orchestrator.ledger.shared_declarations import is_shared
from orchestrator.ledger.stored_json import is_object, warn_once
from orchestrator.storage.object_store import Store
from search_spaces._types import LONGEST_NAME

COMPACTED = "tables/declared/"
"""Below it are the copies, one object per study and revision."""
Revision = tuple[str, str]
"""A study and one of its revisions."""
Texts = dict[str, str | bytes]
"""JSON texts by the key of a declaration."""


def read(store: Store, revisions: Mapping[Revision, Sequence[str]]) -> Texts:
    """Return the texts of some declarations; ``revisions`` gives the keys of each."""
    texts: Texts = {}
    for revision, keys in sorted(revisions.items()):
        together = _copied(store, revision)
        if not together.keys() >= set(keys):
            together = _shared_texts(store, revision) | together
        texts |= {key: together[key] for key in keys if key in together}
        texts |= store.get_many([key for key in keys if key not in together])
    return texts


def compact(store: Store, revisions: Mapping[Revision, Sequence[str]]) -> None:
    """Copy declarations that have an object each and no copy yet, and all of their revision."""
    for revision, keys in revisions.items():
        copied = _readable(_copied(store, revision))
        missing = [key for key in keys if key not in copied]
        if missing:
            texts = _readable(_shared_texts(store, revision) | copied | store.get_many(missing))
            if texts.keys() != copied.keys():
                store.put(copy_key(*revision), shared_declarations.dump(texts))


def lost(store: Store, revisions: Mapping[Revision, Sequence[str]]) -> list[str]:
    """Return the keys in copies that are declared no more; ``revisions`` gives all that are."""
    lost_keys: list[str] = []
    for revision, keys in sorted(revisions.items()):
        for table in shared(store, [copy_key(*revision)], ["key"], whole=False):
            absent = sorted({str(key) for key in table["key"].to_pylist()} - set(keys))
            if absent:  # unless it was declared and compacted since ``keys`` were listed
                present = store.get_many(absent).keys() | _shared_texts(store, revision).keys()
                lost_keys += [key for key in absent if key not in present]
    return lost_keys


def shared(
    store: Store, keys: Iterable[str], columns: Sequence[str], *, whole: bool
) -> list[pa.Table]:
    """Read objects that many declarations share.

    A damaged object is reported and left out unless ``whole`` is set.

    Raises:
        ValueError: an object is damaged, and ``whole`` is set.
    """
    tables: list[pa.Table] = []
    for key, value in store.get_many(list(keys)).items():
        try:
            tables.append(shared_declarations.load(key, value, columns))
        except ValueError as error:
            if whole:
                raise
            warn_once(f"{error}; its trials are left out, see `segprint tables check`")
    return tables


def copy_key(study: str, revision: str) -> str:
    """Return the key of a copy; a name that would be too long for a file's name is hashed."""
    if len(study.encode()) > LONGEST_NAME:
        study = hashlib.sha256(study.encode()).hexdigest()
    return f"{COMPACTED}{study}-{revision}.parquet"


def _copied(store: Store, revision: Revision) -> Texts:
    """Return the texts in a copy; of a damaged one none, it is made again from the originals."""
    try:
        return _texts(store, [copy_key(*revision)], whole=True)
    except ValueError:
        return {}


def _readable(texts: Texts) -> Texts:
    """Return the texts that parse, sorted by key; a damaged one may be replaced by its owner."""
    return {key: text for key, text in sorted(texts.items()) if is_object(text)}


def _shared_texts(store: Store, revision: Revision) -> Texts:
    """Return the texts of the declarations that share an object."""
    listed = store.list("/".join(["studies", *revision, ""]))
    return _texts(store, filter(is_shared, listed), whole=False)


def _texts(store: Store, keys: Iterable[str], *, whole: bool) -> Texts:
    columns = shared_declarations.SCHEMA.names
    return {
        key: text
        for table in shared(store, keys, columns, whole=whole)
        for key, text in zip(*(table[c].to_pylist() for c in columns), strict=True)
    }
