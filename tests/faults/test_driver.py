"""The driver killed and stopped: the same command completes the study."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Search
from tests.faults.drill import Drill, checkpoint_beside, commits
from tests.faults.space_faults import SPACE
from trainables.checkpoint import read_checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
WHOLE = {"search": 4, "final": 4}


def test_a_driver_killed_and_terminated_on_s3_completes_with_nothing_twice_and_no_secret(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    ledger = Ledger(Store(f"s3://segprint-test/{tmp_path.name}"))
    space = dataclasses.replace(
        SPACE, search=Search(trials=2, overrides={"train.steps": 40}), replicates=1
    )
    drill = Drill(tmp_path, space, ledger, "driver killed, then terminated, on S3", env=s3)

    assert drill.strike(checkpoint_beside(0), signal.SIGKILL) == -signal.SIGKILL
    in_flight = ledger.store.list("checkpoints/")
    reached = {
        about["digest"]: about["step"]
        for key in in_flight
        for _, about in [read_checkpoint(ledger.store.get(key))]
    }
    assert drill.strike(checkpoint_beside(1), signal.SIGTERM) == 130
    assert "the same command continues" in drill.said()
    drill.complete()
    drill.assert_whole({"search": 2, "final": 2})
    for digest in reached:  # a resumed trial has every step once, those before the kill included
        steps = sorted(
            r["step"] for r in Snapshot(ledger.store).table("steps", [digest]).to_pylist()
        )
        assert steps == list(range(5, steps[-1] + 1, 5))

    everything = b"".join(ledger.store.get(k) for k in ledger.store.list(""))
    logs = b"".join(p.read_bytes() for p in tmp_path.glob("log-*"))
    assert b"planted-secret" not in everything + logs


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1, 3, 5, 7])
def test_a_driver_killed_at_any_point_completes(tmp_path: Path, at: int) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    drill = Drill(tmp_path, SPACE, ledger, f"driver killed after {at} trials")
    drill.strike(commits(at), signal.SIGKILL)
    if at < 7:  # else the last trial may outlive its driver and be committed: nothing to strike
        drill.strike(checkpoint_beside(at + 1), signal.SIGKILL)
    drill.complete()
    drill.assert_whole(WHOLE)


@pytest.mark.slow
def test_a_driver_killed_while_two_workers_train_completes(tmp_path: Path) -> None:
    space = dataclasses.replace(SPACE, replicates=1, workers=2)
    ledger = Ledger(Store(str(tmp_path / "store")))
    drill = Drill(tmp_path, space, ledger, "driver of two workers killed")
    drill.strike(checkpoint_beside(5), signal.SIGKILL)
    drill.complete()
    drill.assert_whole({"search": 4, "final": 2})
    worlds = Snapshot(drill.ledger.store).table("trials")["world_size"].to_pylist()
    assert sorted(worlds) == [1, 1, 1, 1, 1, 2]
