"""What a trial's row says of its code, machine and packages, and what it must not say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from orchestrator import provenance
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.tables.snapshot import Snapshot
from trainables.config import Config
from trainables.part import Location, plain
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt, outcome_of


def test_a_row_says_what_ran_where_and_with_what(
    ledger: Ledger, small: Callable[..., Config]
) -> None:
    config = small(mode="feedforward")
    outcome_of(attempt(config, LedgerSink(ledger, "c0ffee"), WorkerContext()))
    (row,) = Snapshot(ledger.store).table("trials", [config.digest()]).to_pylist()
    assert (row["code"], row["seed"], row["threads"]) == ("c0ffee", 0, torch.get_num_threads())
    assert json.loads(row["packages"])["torch"] == version("torch")
    assert json.loads(row["devices"]) == [row["device"]]
    assert row["host"]
    assert row["platform"]
    assert row["data_hash"]


def test_a_row_tells_neither_the_environment_nor_the_home_directory(
    ledger: Ledger,
    small: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user's own schedule lies in his home, and raises with its path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from trainables.schedules import Schedule\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Schedule):\n"
        "    def log_snr(self, t):\n"
        "        if t.numel() < 50:  # a training step; contracts look at more times\n"
        "            raise OSError(f'no {__file__}: planted'[:-9])\n"
        "        return -t\n"
    )
    config = small(mode={"diffusion": {"schedule": str(tmp_path / "mine.py")}})
    assert outcome_of(attempt(config, LedgerSink(ledger, ""), WorkerContext())) == "failed"
    (row,) = Snapshot(ledger.store).table("trials", [config.digest()]).to_pylist()
    assert "no ~/mine.py" in row["reason"]
    assert "~/mine.py" in row["config"]
    told = str(row)
    assert str(tmp_path) not in told
    assert "planted" not in told


def test_the_home_directory_is_named_only_where_a_path_begins_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/h/me")
    places = ("/h/me/data", "/data/h/me/x", "/h/melt", "s3://b/h/me/x")
    told = [plain(Location(place)) for place in places]
    assert told == ["~/data", *places[1:]]


def _commit(folder: Path, name: str) -> None:
    (folder / name).write_text("")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(folder)]
    subprocess.run([*git, "add", name], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)


def test_the_code_is_its_commit_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "orchestrator").mkdir()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    _commit(tmp_path, "notes.txt")
    (tmp_path / "orchestrator" / "new.py").write_text("")
    # Somebody else's repository: its commits say nothing about this code.
    assert provenance.code_version() == f"segprint {version('segprint')}"
    _commit(tmp_path, "orchestrator/new.py")
    clean = provenance.code_version()
    (tmp_path / "notes.txt").write_text("not code")
    assert provenance.code_version() == clean
    (tmp_path / "orchestrator" / "other.py").write_text("")
    assert provenance.code_version() == f"{clean}+"
