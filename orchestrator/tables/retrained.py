"""Trials that were trained again after their commit record was lost: the current record counts.

The tables then hold an attempt that the record of its key does not name. Readers only list the
records, so ``tables/records.json`` notes the time of the newest record that a compaction listed: by
the store's clock, a record that replaced a lost one is not older. Only records from then on are
read and compared with the tables. It also notes a hash over the keys and times of all records that
were listed: if older ones changed, as when a file was copied with its old time, all are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from orchestrator.ledger.commits import Record, load_record
from orchestrator.storage.object_store import Store
from orchestrator.storage.objects import Entry
from orchestrator.tables.log_seal import ROOT

KEY = f"{ROOT}records.json"
MARGIN = timedelta(seconds=10)
"""Records that are older than the noted time by this are read too: a store gives times in whole
seconds, and a writer may take some seconds from the time of its file to its name."""


def retrained(
    store: Store, compacted: Mapping[str, str], listed: Iterable[Entry], *, whole: bool = False
) -> dict[str, Record]:
    """Return the records, by key, that name another attempt than the ``compacted`` one.

    ``listed`` is a listing of all records. Without a noted time, none is read, or all of them if
    ``whole`` is set.
    """
    listed = list(listed)
    noted, before = _noted(store)
    if noted is None and not whole:
        return {}
    if noted is not None and before not in (None, _hash(listed, noted)):
        noted = None
    recent = [
        entry.key
        for entry in listed
        if entry.key in compacted and (noted is None or entry.modified >= noted - MARGIN)
    ]
    records = [load_record(key, value) for key, value in store.get_many(recent).items()]
    return {
        record.key: record
        for record in records
        if isinstance(record, Record) and record.attempt != compacted[record.key]
    }


def note_checked(store: Store, listed: Iterable[Entry]) -> None:
    """Note the time of the newest record in a listing whose records were compared."""
    listed = list(listed)
    newest = max((entry.modified for entry in listed), default=None)
    if newest is not None:
        records = _hash(listed, newest)
        if _noted(store) != (newest, records):
            content = {"until": newest.isoformat(), "records": records}
            store.put(KEY, json.dumps(content).encode())


def _hash(listed: Iterable[Entry], until: datetime) -> str:
    """Return a hash over the keys and times of the records that are not newer than ``until``."""
    old = sorted((e.key, e.modified.isoformat()) for e in listed if e.modified <= until)
    return hashlib.sha256(json.dumps(old).encode()).hexdigest()


def _noted(store: Store) -> tuple[datetime | None, str | None]:
    """Return the noted time and hash; None for what is not there, or is damaged."""
    try:
        content = json.loads(store.get(KEY))
        noted, records = datetime.fromisoformat(content["until"]), content.get("records")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None, None
    return (noted if noted.tzinfo is not None else None), records
