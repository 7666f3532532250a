"""The Slurm script, run: stand-ins for Slurm's commands start its processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from search_spaces import Space
from tests.conftest import ROOT, SMALL
from tests.faults.nodes import QUICK

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(400)]
FAKE = Path(__file__).with_name("slurm")
CLUSTER = "from cluster.slurm import Slurm\nCLUSTER = Slurm(nodes=2, gpus=0, cpus=1)\n"
Submit = Callable[[Space], subprocess.Popen[str]]
SECRET = "planted-secret"


@pytest.fixture
def submit(tmp_path: Path) -> Iterator[Submit]:
    """Submit a study as a user would; the stand-in for sbatch ends with the job."""
    (tmp_path / "lab.py").write_text(CLUSTER)
    python = Path(sys.executable).parent
    env = {
        **os.environ,
        **QUICK,
        "HOME": str(tmp_path / "home"),
        "PATH": os.pathsep.join([str(FAKE), str(python), os.environ["PATH"]]),
        "SLURM_FAKE": str(tmp_path),
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }

    jobs: list[subprocess.Popen[str]] = []

    def start(space: Space) -> subprocess.Popen[str]:
        (tmp_path / "mine.py").write_text(f"from search_spaces import *\nSPACE = {space!r}\n")
        command = [sys.executable, "-m", "orchestrator.cli", "submit", "./lab.py", "./mine.py"]
        job = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**env, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        jobs.append(job)
        return job

    # The loopback binding of the other tests is, by its name, for one node only.
    env.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    yield start
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)


def ended(job: subprocess.Popen[str], folder: Path) -> tuple[int, str]:
    """The code that the script ended with, and what it printed."""
    said, _ = job.communicate(timeout=300)
    (log,) = (folder / "home").rglob("job.log")
    assert (folder / "code").is_file(), said + log.read_text()
    return int((folder / "code").read_text()), log.read_text()


def test_a_study_is_swept_on_two_nodes_and_nothing_is_left(submit: Submit, tmp_path: Path) -> None:
    space = Space(question="?", config={**SMALL, "mode": "feedforward"}, replicates=2)
    code, said = ended(submit(space), tmp_path)
    assert code == 0, said
    assert len(Ledger(Store(str(tmp_path / "results"))).commits()) == 2
    (started,) = (tmp_path / "srun").read_text().splitlines()
    assert "start --block --address=127.0.0.1:" in started
    place = next((tmp_path / "home").rglob("job.log")).parent
    assert not list(place.glob("run-*"))  # the token went with its job
    texts = [p.read_text(errors="replace") for p in place.rglob("*") if p.is_file()]
    assert not any(SECRET in text for text in texts)
    assert not _processes(str(place))


def test_short_of_the_time_limit_a_job_keeps_its_work_and_is_queued_again(
    submit: Submit, tmp_path: Path
) -> None:
    train = {"steps": 100_000, "batch": 4, "validate_every": 2}
    space = Space(question="?", config={**SMALL, "mode": "feedforward", "train": train})
    job = submit(space)
    deadline = time.monotonic() + 150
    store = Store(str(tmp_path / "results"))
    while not any(True for _ in _keys(store)):
        assert job.poll() is None, ended(job, tmp_path)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    batch = int((tmp_path / "batch.pid").read_text())
    children = Path(f"/proc/{batch}/task/{batch}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGUSR1)  # as --signal=B:USR1@180 does
    code, said = ended(job, tmp_path)
    assert code == 130, said
    assert (tmp_path / "scontrol").read_text() == f"requeue {batch}\n"


def _keys(store: Store) -> list[str]:
    """Leases of trials that train."""
    folder = Path(store.url) / "leases"
    return [str(path) for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def _processes(words: str) -> list[str]:
    found = subprocess.run(["pgrep", "-f", words], capture_output=True, text=True, check=False)
    return found.stdout.split()
