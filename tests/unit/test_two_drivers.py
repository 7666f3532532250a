"""Two drivers of one study, as two users start them: the second waits and says for whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import search_spaces
from orchestrator.ledger.driver_lock import current_driver
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parquet import fields
from orchestrator.planning.plan import make_plan
from orchestrator.storage.object_store import Store
from tests.conftest import ROOT, SMALL
from trainables.schemas import SCHEMAS

FIRST = """
import sys, time
from orchestrator.ledger.driver_lock import locked
from orchestrator.storage.object_store import Store
with locked(Store(sys.argv[1]), "tiny", print):
    print("drives", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def space(tmp_path: Path) -> str:
    file = tmp_path / "tiny.py"
    file.write_text(f"from search_spaces import Space\nSPACE = Space('?', {SMALL!r})\n")
    return str(file)


@pytest.fixture(params=["local", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str
) -> Store:
    """A store in which all trials of the space are committed."""
    url = str(tmp_path / "store")
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        url = f"s3://segprint-test/{tmp_path.name}"
    ledger = Ledger(Store(url))
    numbers = {f.name: 1 for f in fields(SCHEMAS["trials"]) if f.type in (pa.int64(), pa.float64())}
    for trial in make_plan(*search_spaces.load(space), ledger).pending:
        ledger.commit(trial.digest, "finished", {"trials": [{"outcome": "finished", **numbers}]})
    return ledger.store


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_the_second_waits_while_the_first_is_stopped_and_goes_on_when_it_is_killed(
    store: Store, space: str
) -> None:
    first = start("-c", FIRST, store.url)
    assert first.stdout is not None
    assert first.stdout.readline() == "drives\n"
    second = start("-m", "orchestrator.cli", "--store", store.url, "sweep", space)
    try:
        assert second.stdout is not None
        lines = iter(second.stdout.readline, "")
        assert any(f"process {first.pid} on" in line and "waiting" in line for line in lines)
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(5)
        driver = current_driver(store, "tiny")
        assert driver is not None
        assert driver.process.pid == first.pid
        first.kill()
        assert second.wait(120) == 0, second.stdout.read()
        assert current_driver(store, "tiny") is None
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
