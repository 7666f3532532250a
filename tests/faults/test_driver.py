"""The driver killed and stopped: the same command completes the study."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Search
from tests.conftest import ROOT, SMALL
from tests.faults.conftest import Drills
from tests.faults.drill import Drill, checkpoint_beside, commits, paced, trained, trial
from tests.faults.processes import assert_end, children, descendants
from tests.faults.space_faults import SPACE
from trainables.checkpoint import Checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
WHOLE = {"search": 4, "final": 4}


def command(pid: int) -> str:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


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
        header["digest"]: header["step"]
        for key in in_flight
        for header in [Checkpoint.read(io.BytesIO(ledger.store.get(key))).header]
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


@pytest.mark.cluster
@pytest.mark.parametrize("at", [0, 1, 3, 5, 7])
def test_a_driver_killed_at_any_point_completes(tmp_path: Path, at: int) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    drill = Drill(tmp_path, SPACE, ledger, f"driver killed after {at} trials")
    drill.strike(commits(at), signal.SIGKILL)
    if at < 7:  # else the last trial may outlive its driver and be committed: nothing to strike
        drill.strike(checkpoint_beside(at + 1), signal.SIGKILL)
    drill.complete()
    drill.assert_whole(WHOLE)


def test_a_driver_killed_while_two_workers_train_completes(tmp_path: Path) -> None:
    assert SPACE.search is not None
    search = dataclasses.replace(SPACE.search, workers=1)
    space = dataclasses.replace(SPACE, replicates=1, workers={"diffusion": 2}, search=search)
    ledger = Ledger(Store(str(tmp_path / "store")))
    drill = Drill(tmp_path, space, ledger, "driver of two workers killed")
    drill.strike(checkpoint_beside(5), signal.SIGKILL)
    drill.complete()
    drill.assert_whole({"search": 4, "final": 2})
    worlds = Snapshot(drill.ledger.store).table("trials")["world_size"].to_pylist()
    assert sorted(worlds) == [1, 1, 1, 1, 1, 2]


@pytest.mark.cluster
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_process_group_keeps_checkpoints_and_leaves_no_process(
    drill: Drills, sig: signal.Signals
) -> None:
    """`timeout`, batch systems and Ctrl-C signal the group of the driver, not only its process."""
    slow = paced({"one": trial("one", 120, 100, seconds=0.1)}, replicates=1)
    d = drill(f"{sig.name} to the process group", slow)
    d.start()
    d.until(trained(15))
    processes = descendants(d.driver.pid)
    d.hit(lambda: os.killpg(d.driver.pid, sig))
    assert d.end(60) == 130, d.said()
    d.noticed("stopping: trials keep a checkpoint", "the same command continues")
    assert_end(processes)
    assert len(d.ledger.store.list("checkpoints/")) == 1
    d.complete()
    d.assert_whole({"final": 1}, redone=0)


@pytest.mark.cluster
def test_a_killed_process_group_leaves_no_process(drill: Drills) -> None:
    d = drill(
        "process group killed", paced({"one": trial("one", 60, 20, seconds=0.1)}, replicates=1)
    )
    d.start()
    d.until(trained(25))
    processes = descendants(d.driver.pid)
    d.hit(lambda: os.killpg(d.driver.pid, signal.SIGKILL))
    d.end(20)
    # Ray's two agents first report the death of their raylet, and wait 60 s for the dead head.
    assert_end(processes, patience=90)
    d.noticed()
    d.complete()
    d.assert_whole({"final": 1}, redone=20)


@pytest.mark.cluster
@pytest.mark.parametrize("program", ["raylet", "gcs_server", ""])
def test_a_signal_ends_a_sweep_within_seconds_when_its_own_ray_has_died(
    drill: Drills, program: str
) -> None:
    d = drill("local Ray died", paced({"one": trial("one", 200, 100, seconds=0.1)}, replicates=1))
    d.start()
    d.until(trained(15))
    ray = [
        pid for pid in children(d.driver.pid) if program in Path(f"/proc/{pid}/exe").readlink().name
    ]
    assert ray
    before = len(d.log.read_text().splitlines())
    d.hit(lambda: [os.kill(pid, signal.SIGKILL) for pid in ray])
    os.killpg(d.driver.pid, signal.SIGINT)
    assert d.end(15) in (2, 130), d.said()
    d.noticed("the same command continues")
    assert len(d.log.read_text().splitlines()) - before <= 3, d.said()


@pytest.mark.cluster
@pytest.mark.parametrize("process", ["gcs_server", "raylet/raylet"])
def test_a_signal_while_ray_starts_is_one_line_and_leaves_no_process(
    tmp_path: Path, process: str
) -> None:
    """Ray's own handlers would exit without a message, or with a stack of Ray."""
    (tmp_path / "mine.py").write_text(
        f"from search_spaces import Space\nSPACE = Space('?', {SMALL!r}, gpus=0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "sweep", "./mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        while process not in "".join(map(command, processes := descendants(driver.pid))):
            assert driver.poll() is None
        driver.send_signal(signal.SIGTERM)
        stdout, stderr = driver.communicate(timeout=60)
    assert (driver.returncode, stdout) == (130, "")
    assert stderr == "segprint: stopped; the same command continues\n"
    assert_end(processes)
