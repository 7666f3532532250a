"""Withdraws declarations of trials from their studies."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.ledger import declared_texts, shared_declarations
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.shared_declarations import is_shared
from orchestrator.storage.object_store import Store


def withdraw(store: Store, slots: Iterable[Declared]) -> None:
    """Delete declarations; what an interrupted call left is deleted by the same call again.

    Raises:
        ValueError: an object that may hold one of them is damaged; names it.
    """
    keys: dict[declared_texts.Revision, set[str]] = {}
    for slot in slots:
        keys.setdefault((slot.study, slot.revision), set()).add(slot.key)
    for revision, unwanted in keys.items():
        store.delete(declared_texts.copy_key(*revision))  # compaction writes it again
        for listed in store.list("/".join(["studies", *revision, ""])):
            if is_shared(listed):
                _rewrite(store, listed, unwanted)
            elif listed in unwanted:
                store.delete(listed)


def _rewrite(store: Store, key: str, unwanted: Collection[str]) -> None:
    """Replace an object that many declarations share by one without some of them."""
    table = shared_declarations.load(key, store.get(key), shared_declarations.SCHEMA.names)
    texts = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    kept = {name: text for name, text in texts.items() if name not in unwanted}
    if len(kept) == len(texts):
        return
    if kept:
        value = shared_declarations.dump(kept)
        store.create(f"{key.rpartition('/')[0]}/{shared_declarations.name_of(value)}", value)
    store.delete(key)
