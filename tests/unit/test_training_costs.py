"""The costs of trials that read weights which another trial trained."""

from __future__ import annotations

import pytest

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.ledger.weights import Retention
from orchestrator.tables.snapshot import Snapshot
from tests.unit.test_trained import DDPM, Small, run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt, commit_unfinished


def test_an_attempt_that_was_ended_is_not_charged_for_the_training_of_another(
    small: Small, ledger: Ledger
) -> None:
    run(small(), ledger)
    other, sink = small(mode=DDPM), LedgerSink(ledger, "code", Retention())
    progress = next(told for told in attempt(other, sink, WorkerContext()) if told.history)
    about = {"world_size": 1}
    commit_unfinished(other, sink, "failed", "its node was lost", about, progress.history)
    (first,) = Snapshot(ledger.store).table("trials", [small().digest()]).to_pylist()
    (row,) = Snapshot(ledger.store).table("trials", [other.digest()]).to_pylist()
    assert row["steps"] == first["steps"] > 0
    assert row["device_seconds"] == 0.0 < first["device_seconds"]


def test_the_cost_of_an_ensemble_is_that_of_the_networks_that_it_trained(
    small: Small, ledger: Ledger
) -> None:
    """Its first network is that of the twin, which was trained before."""
    ensemble = small(mode={"deep_ensemble": {"networks": 3}})
    for config in (small(mode="feedforward"), ensemble):
        run(config, ledger)
    names = ("training", "spent_device_seconds")
    spent = {r[names[0]]: r[names[1]] for r in catalog(ledger)["trainings"].to_pylist()}
    trials = Snapshot(ledger.store).table("trials", [ensemble.digest()]).to_pylist()
    cost = trials[0]["device_seconds"] - trials[0]["reading_seconds"]
    first, *others = (spent[training] for training in ensemble.training_digests)
    assert others == pytest.approx([cost / 2] * 2)
    assert first + cost == pytest.approx(sum(spent.values()))
