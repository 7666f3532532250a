"""Declarations: one object each, or one for many, and nobody who reads them can tell."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.ledger import studies
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import LEAST_SHARED
from orchestrator.tables.integrity import Check

MANY = 3 * LEAST_SHARED


def trials(count: int, study: str = "s") -> list[tuple[Declared, dict[str, Any]]]:
    return [
        (Declared(study, "r1", f"cell{i % 3}", "final", i, f"{i:016x}"), {"values": {"seed": i}})
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [LEAST_SHARED - 1, MANY])
def test_what_was_declared_together_is_read_like_what_was_declared_one_by_one(
    ledger: Ledger, count: int
) -> None:
    ledger.studies.declare_all(trials(count))
    for declared, about in trials(count, "apart"):
        ledger.studies.declare(declared, about)
    for study in ("s", "apart"):
        ledger.studies.describe(study, {"revision": "r1"})
    one, other = (ledger.studies.declared(study) for study in ("s", "apart"))
    assert [vars(d) | {"study": ""} for d in one] == [vars(d) | {"study": ""} for d in other]
    assert ledger.studies.declarations(one) == {d.key: about for d, about in trials(count)}
    assert ledger.studies.current("s") == one
    assert ledger.studies.names() == ["apart", "s"]
    assert set(ledger.studies.current()) == {*one, *other}


def test_many_trials_share_a_few_objects(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "MOST_SHARED", LEAST_SHARED)
    ledger.studies.declare_all(trials(MANY))
    assert len(ledger.store.list("studies/")) == 3
    ledger.studies.declare_all(trials(MANY))  # by somebody who died, and comes again
    assert len(ledger.store.list("studies/")) == 3
    assert len(ledger.studies.declared("s", "r1")) == MANY


def test_a_trial_that_was_declared_alone_too_is_there_once(ledger: Ledger) -> None:
    listed = trials(MANY)
    ledger.studies.declare(*listed[0])
    ledger.studies.declare_all(listed)
    assert len(ledger.studies.declared("s")) == MANY


def test_compaction_keeps_them_and_forgetting_drops_them(ledger: Ledger) -> None:
    ledger.studies.declare_all(trials(MANY))
    alone = Declared("s", "r1", "cell0", "search", 0, "f" * 16)
    ledger.studies.declare(alone, {"values": {"seed": -1}})
    ledger.studies.compact()
    listed = ledger.studies.declared("s")
    assert ledger.studies.declarations(listed)[alone.key] == {"values": {"seed": -1}}
    before = ledger.store.entries("tables/")
    ledger.studies.compact()
    assert ledger.store.entries("tables/") == before
    other = dataclasses.replace(alone, study="other")
    ledger.studies.declare(other, {"values": {"seed": -1}})
    ledger.studies.compact()
    ledger.studies.forget("s")
    assert ledger.studies.names() == ["other"]
    assert ledger.store.list("tables/declared/") == ["tables/declared/other-r1.parquet"]


def test_a_damaged_one_is_named_once_and_only_what_needs_it_stops(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.studies.declare_all(trials(MANY))
    (key,) = ledger.store.list("studies/")
    ledger.store.put(key, ledger.store.get(key)[:-9])
    others = trials(LEAST_SHARED, "other")
    ledger.studies.declare_all(others)
    for _ in range(2):
        assert {d.key for d in ledger.studies.declared()} == {d.key for d, _ in others}
    (said,) = [r.getMessage() for r in caplog.records if key in r.getMessage()]
    assert "does not parse" in said
    with pytest.raises(ValueError, match=f"{key} in the store does not parse"):
        ledger.studies.declared("s", whole=True)
    assert len(ledger.studies.declared("other", whole=True)) == LEAST_SHARED
    found = [f for f in Check(ledger.store).run() if f.where == key]
    assert [f.kind for f in found] == ["damage"]
