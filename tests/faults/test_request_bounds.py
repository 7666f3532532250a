"""Requests to a store: readers take as many for few trials as for many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from orchestrator.analyses import open_store
from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction, retrained
from tests.conftest import Segprint
from tests.faults.hands import commit
from tests.faults.proxy import Proxy

FEW, MANY = 3, 30


@pytest.fixture
def stores(remote: Store, monkeypatch: pytest.MonkeyPatch) -> list[Store]:
    """A store with few trials of one study, and one with many; no record counts as recent."""
    monkeypatch.setattr(retrained, "MARGIN", timedelta(hours=-1))
    stores = [Store(f"{remote.url}/{count}") for count in (FEW, MANY)]
    for store, count in zip(stores, (FEW, MANY), strict=True):
        ledger = Ledger(store)
        ledger.studies.describe("study", {"question": "?", "arms": ["a"], "revision": "r1"})
        for i in range(count):
            declaration: Declaration = {"arm": "a", "config": {}, "values": {}, "trainings": []}
            slot = Declared("study", "r1", "cell", "final", i, f"d{i}")
            ledger.studies.declare(slot, declaration)
            commit(ledger, f"d{i}", 1)
    return stores


def requests(proxy: Proxy, call: Callable[[], object]) -> int:
    """The number of requests that a call sends."""
    before = len(proxy.log)
    call()
    return len(proxy.log) - before


@pytest.mark.parametrize("view", ["cases", "studies"])
def test_a_query_of_compacted_rows_takes_requests_by_files_and_not_by_trials(
    stores: list[Store], proxy: Proxy, view: str
) -> None:
    def query(store: Store) -> None:
        rows = open_store(store.url).sql(f"SELECT count(DISTINCT digest) AS n FROM {view}")
        assert rows["n"].to_pylist() == [int(store.url.rpartition("/")[2])]

    for store in stores:
        compaction.compact_committed(store)
    few, many = (requests(proxy, lambda s=store: query(s)) for store in stores)
    assert few == many


def test_status_takes_no_request_per_trial_even_before_a_compaction(
    stores: list[Store], proxy: Proxy, inline: Segprint
) -> None:
    def status(store: Store) -> None:
        shown = inline("--store", store.url, "status", "study")
        assert shown.returncode == 0, shown.stderr

    few, many = (requests(proxy, lambda s=store: status(s)) for store in stores)
    assert few == many


def test_status_of_kept_weights_takes_no_request_per_trial_once_declarations_are_copied(
    stores: list[Store], proxy: Proxy, inline: Segprint
) -> None:
    for store in stores:
        store.put("weights/t1/00.safetensors", b"weights")
        store.put("weights/t1.json", b"{}")
        compaction.compact_committed(store)
    few, many = (
        requests(proxy, lambda s=store: inline("--store", s.url, "status", "study"))
        for store in stores
    )
    assert few == many
