"""The bytes that each study takes in a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.ledger.checkpoints import PREFIX as CHECKPOINTS
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.objects import Entry
from orchestrator.tables.needed_weights import needed_weights


@dataclass(frozen=True)
class DiskUse:
    """The bytes that a study takes; studies that share trials or weights each count them."""

    rows_bytes: int = 0
    """The trials' own objects, without the compacted tables, which all studies share."""
    weights_bytes: int = 0
    checkpoints_bytes: int = 0
    shared_bytes: int = 0
    """The bytes among these that another study takes too."""


def disk_use(ledger: Ledger) -> dict[str, DiskUse]:
    """Return the bytes that each declared study takes, by its name."""
    studies: dict[str, set[str]] = {}
    for slot in ledger.studies.declared():
        studies.setdefault(slot.digest, set()).add(slot.study)
    store = ledger.store
    rows = _by_study(_sizes(store.entries("trials/"), "trials/"), studies)
    checkpoints = _by_study(_sizes(store.entries(CHECKPOINTS), CHECKPOINTS), studies)
    weights = _by_study(ledger.weights.sizes(), needed_weights(ledger, strict=False))
    shared = rows.shared + checkpoints.shared + weights.shared
    return {
        name: DiskUse(rows.all[name], weights.all[name], checkpoints.all[name], shared[name])
        for name in set[str]().union(*studies.values())
    }


@dataclass(frozen=True)
class _Sizes:
    """Bytes by study: all of them, and those that another study counts too."""

    all: Counter[str]
    shared: Counter[str]


def _by_study(sizes: Mapping[str, int], studies: Mapping[str, Iterable[str]]) -> _Sizes:
    totals = _Sizes(Counter(), Counter())
    for name, size in sizes.items():
        takers = set(studies.get(name, ()))
        totals.all.update(dict.fromkeys(takers, size))
        if len(takers) > 1:
            totals.shared.update(dict.fromkeys(takers, size))
    return totals


def _sizes(entries: Iterable[Entry], prefix: str) -> Counter[str]:
    """Return the bytes of objects by the digest in their keys."""
    sizes = Counter[str]()
    for entry in entries:
        sizes[entry.key.removeprefix(prefix).partition("/")[0].partition(".")[0]] += entry.size
    return sizes
