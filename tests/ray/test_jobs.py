"""A study submitted through Ray Jobs to a cluster with a token, its results in a real S3 server."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster import Job, _jobs
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.credentials import aws_chain
from orchestrator.storage.object_store import Store
from tests.conftest import ROOT, SMALL, Segprint
from tests.faults.nodes import Nodes

STORE = "s3://segprint-test/jobs"
SECRET = "planted-secret"
STUDY = f"""from search_spaces import *
SPACE = Space(
    question="?",
    config={ ({**SMALL, "mode": "feedforward", "train": {"steps": 150, "batch": 4}})!r},
    replicates=6,
)
"""


@pytest.fixture
def farm(s3: dict[str, str], tmp_path: Path) -> Iterator[Nodes]:
    """Two nodes of one CPU and a head without, all behind one token."""
    token = tmp_path / "token"
    token.write_text("planted-token-" + "0" * 50)
    env = {
        **s3,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SEGPRINT_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": "",  # what runs is what was sent
    }
    with Nodes(2, env) as nodes:
        yield nodes


def client(folder: Path, nodes: Nodes, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line as on a laptop that has the token, and no way to the store."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    known = {"RAY_ADDRESS": nodes.ask("dashboard"), "RAY_AUTH_MODE": "token"}
    known["RAY_AUTH_TOKEN_PATH"] = nodes.env["RAY_AUTH_TOKEN_PATH"]
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "--store", STORE, *words],
        cwd=folder,
        env={**mine, **known, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_submitted_study_outlives_a_node(
    farm: Nodes, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    aws_chain.cache_clear()
    (tmp_path / "mine.py").write_text(STUDY)
    submit = ("submit", "existing", "./mine.py")
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token")
    refused = client(tmp_path, farm, *submit, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert refused.returncode == 2
    assert "does not take the token" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr

    first = client(tmp_path, farm, *submit)
    assert first.returncode == 0, first.stderr
    assert "mine: submitted as segprint-mine-" in first.stdout
    second = client(tmp_path, farm, *submit)
    assert "mine: runs there already as segprint-mine-" in second.stdout, second.stderr

    ledger = Ledger(Store(STORE))
    deadline = time.monotonic() + 150
    while not ledger.commits():
        assert time.monotonic() < deadline, client(tmp_path, farm, "logs", *submit[1:]).stdout
        time.sleep(0.3)
    farm.kill(min(farm.alive))
    farm.add()
    (hint,) = (line for line in first.stdout.splitlines() if "follows it" in line)
    program, *words = shlex.split(hint.partition(" follows it")[0])
    assert program == "segprint"
    assert words[:2] == ["--store", STORE], "without it another job would be looked for"
    followed = client(tmp_path, farm, *words)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert len(ledger.commits()) == 6
    elsewhere = client(tmp_path, farm, "--store", f"{STORE}-other", "logs", *submit[1:])
    assert elsewhere.returncode == 2
    assert "another --store, --as or --most" in elsewhere.stderr
    assert "dashboard_sdk" not in first.stderr, "Ray's own lines help nobody"

    listed = subprocess.run(
        [sys.executable, "-c", LIST, farm.ask("dashboard")],
        env=farm.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "sweep mine.py --on existing" in listed.stdout
    logs = Path(farm.ask("logs"))
    texts = [p.read_text(errors="replace") for p in logs.rglob("*") if p.is_file()]
    said = [listed.stdout, first.stdout, followed.stdout, *texts]
    assert len(texts) > 10
    assert not any(SECRET in text or "planted-token" in text for text in said)
    aws_chain.cache_clear()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_driver_that_the_head_cannot_start_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would leave the job pending for a quarter of an hour, without a reason."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    patient = {"RAY_health_check_failure_threshold": "1000", "PATH": path}
    (tmp_path / "source").mkdir()
    job = Job("mine", ("-c", "import time; time.sleep(60)"), (), ())
    with Nodes(1, patient) as nodes:
        url, head = nodes.ask("dashboard"), nodes.ask("head_raylet")
        monkeypatch.setenv("RAY_ADDRESS", url)
        first = Job("first", ("-c", "pass"), (), ())  # the server of jobs starts with the first
        assert _jobs.submit(url, first, tmp_path / "source")
        assert _jobs.start(url, first) == ""
        os.kill(head, signal.SIGSTOP)  # it starts no process, as where memory has run out
        try:
            assert _jobs.submit(url, job, tmp_path / "source")
            problem = _jobs.start(url, job, patience=3)
        finally:
            os.kill(head, signal.SIGCONT)
        assert "its driver has not started" in problem
        assert "head, 0 CPU, 0 GPU" in problem
        assert f"ray job stop {_jobs.identity(job)}" in problem
        assert _jobs.start(url, job) == "", "it stays submitted, and starts when it can"


LIST = """
import sys
from ray.job_submission import JobSubmissionClient
print([job.dict() for job in JobSubmissionClient(sys.argv[1]).list_jobs()])
"""


class OlderRay(BaseHTTPRequestHandler):
    """The version that the dashboard of another Ray tells."""

    def do_GET(self) -> None:
        body = json.dumps({"version": "4", "ray_version": "2.9.3", "ray_commit": "x"}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


def test_another_ray_or_none_is_one_line_that_names_both(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    with HTTPServer(("127.0.0.1", 0), OlderRay) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        submit = ("--store", STORE, "submit", "existing", "./mine.py")
        older = inline(*submit, RAY_ADDRESS=url)
        server.shutdown()
    nobody = inline(*submit, RAY_ADDRESS=url)
    for done in (older, nobody):
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"the cluster at {url} runs Ray 2.9.3, this environment has Ray 2.60" in older.stderr
    assert f"no Ray Jobs at {url}" in nobody.stderr
