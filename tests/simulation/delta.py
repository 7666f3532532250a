"""A model of deltalake over the simulated bucket, so that faults also strike inside a log.

It follows the Delta protocol as far as the tables need it: entries are created only if absent, and
a commit that lost the race to a number takes the next one unless both carry the same application
transaction. ``test_simulation.py`` compares it with deltalake itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from tests.simulation.bucket import URL, Bucket
from trainables.schemas import SCHEMAS


class SimulatedTable:
    """The methods of :class:`deltalake.DeltaTable` that the tables use."""

    bucket: Bucket

    def __init__(self, uri: str, storage_options: object = None) -> None:
        self.log = f"{uri.removeprefix(f'{URL}/')}/_delta_log/"
        self._read()

    @classmethod
    def create(cls, uri: str, schema: pa.Schema, **_: object) -> None:
        """Write the first entry of a log unless there is one."""
        bucket, log = cls.bucket, f"{uri.removeprefix(f'{URL}/')}/_delta_log/"
        first = [{"metaData": {"id": str(uuid.uuid4()), "columns": schema.names}}]
        if not bucket.network.request("list", log, lambda: bucket.keys(log)):
            _create(bucket, f"{log}{0:020}.json", first)

    def _read(self) -> None:
        network, objects = self.bucket.network, self.bucket.objects
        keys = network.request("list", self.log, lambda: self.bucket.keys(self.log))
        if not keys:
            raise TableNotFoundError("no log")
        if keys != [f"{self.log}{number:020}.json" for number in range(len(keys))]:
            raise DeltaError("the log has a gap")
        values = network.request("get", keys[0], lambda: [objects.get(key) for key in keys])
        self.number = len(keys) - 1
        self.files: dict[str, tuple[int, int]] = {}
        self.transactions: dict[str, int] = {}
        for found in values:
            for line in (found.value if found is not None else b"").splitlines():
                self._apply(json.loads(line))

    def _apply(self, action: dict[str, Any]) -> None:
        match action:
            case {"metaData": {"id": str(identity)}}:
                self.identity = identity
            case {"add": {"path": path, "size": size, "stats": stats}}:
                self.files[path] = size, json.loads(stats)["numRecords"]
            case {"remove": {"path": path}}:
                self.files.pop(path, None)
            case {"txn": {"appId": name, "version": version}}:
                self.transactions[name] = version
            case _:
                pass

    def version(self) -> int:
        return self.number

    def update_incremental(self) -> None:
        self._read()

    def metadata(self) -> SimpleNamespace:
        return SimpleNamespace(id=self.identity)

    def schema(self) -> SimpleNamespace:
        name = self.log.split("/")[1]
        return SimpleNamespace(to_arrow=lambda: SCHEMAS[name])

    def transaction_version(self, name: str) -> int | None:
        return self.transactions.get(name)

    def get_add_actions(self) -> pa.Table:
        sizes = [size for size, _ in self.files.values()]
        rows = [count for _, count in self.files.values()]
        columns = [pa.array(list(self.files), pa.string()), pa.array(sizes), pa.array(rows)]
        return pa.table(columns, names=["path", "size_bytes", "num_records"])

    def create_write_transaction(
        self,
        actions: Sequence[AddAction | RemoveAction],
        mode: str,
        schema: pa.Schema,
        *,
        commit_properties: CommitProperties,
    ) -> None:
        """Write the next entry of the log."""
        info = {"operation": "WRITE", **(commit_properties.custom_metadata or {})}
        transactions = commit_properties.app_transactions or []
        entry = [
            {"commitInfo": info},
            *({"txn": {"appId": t.app_id, "version": t.version}} for t in transactions),
            *(
                {"add": {"path": a.path, "size": a.size, "stats": a.stats}}
                if isinstance(a, AddAction)
                else {"remove": {"path": a.path}}
                for a in actions
            ),
        ]
        bucket, number = self.bucket, self.number + 1
        while not _create(bucket, f"{self.log}{number:020}.json", entry):
            value = bucket.objects[f"{self.log}{number:020}.json"].value
            taken = [json.loads(line).get("txn", {}).get("appId") for line in value.splitlines()]
            if any(t.app_id in taken for t in transactions):
                raise CommitFailedError("a concurrent transaction was committed")
            number += 1


def _create(bucket: Bucket, key: str, entry: list[dict[str, Any]]) -> bool:
    """Create an entry; a lost answer ends in a failure, since deltalake then finds it taken."""
    value = "\n".join(map(json.dumps, entry)).encode()
    try:
        return bucket.network.request("put", key, lambda: bucket.write(key, value, create=True))
    except OSError:
        raise CommitFailedError("a concurrent transaction was committed") from None
