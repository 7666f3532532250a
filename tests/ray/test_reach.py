"""A head that is not there, not ours, or of other versions is told within seconds, in one line."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import _head_probe, _jobs
from tests.conftest import ROOT, SMALL, Segprint
from tests.faults.nodes import Nodes


def test_a_port_where_nobody_listens_or_answers_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_head_probe, "TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(_jobs, "TIMEOUT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ConnectionError, match="does not answer as Ray's head"):
            _head_probe.probe(f"127.0.0.1:{port}")
        with pytest.raises(ConnectionError, match="no Ray Jobs at .*timed out"):
            _jobs.state(f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectionError, match="refused; is it the head"):
        _head_probe.probe(f"127.0.0.1:{port}")
    with pytest.raises(ConnectionError, match="refused; is RAY_ADDRESS right"):
        _jobs.state(f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectionError, match="must be HOST:PORT"):
        _head_probe.probe("somewhere")


def test_an_environment_without_the_packages_says_so(tmp_path: Path) -> None:
    """As a job does on nodes whose image has another Python, or nothing of this package."""
    command = [sys.executable, "-I", "-S", "-c", BARE, str(ROOT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "lacks the package" in line
    assert f"Python {sys.version.split()[0]}" in line
    assert "image or environment of its nodes" in line


BARE = """
import sys
sys.path.insert(0, sys.argv[1])
from orchestrator.cli import main
sys.exit(main(["--store", "s3://b/x", "sweep", "quickstart", "--on", "existing"]))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_whose_head_it_is_and_what_it_runs_is_told_before_ray_tries(
    tmp_path: Path, segprint: Segprint
) -> None:
    token, wrong = tmp_path / "token", tmp_path / "wrong"
    token.write_text("planted-token-" + "0" * 50)
    wrong.write_text("another-token")

    def auth(path: Path) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}

    with Nodes(1, auth(token)) as nodes:

        def says(code: str, **env: str) -> str:
            command = [sys.executable, "-c", code, nodes.env["RAY_ADDRESS"]]
            done = subprocess.run(
                command,
                env={**nodes.env, **env},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            return done.stdout + done.stderr

        assert says(REACH) == "reached\n"
        assert "does not take the token" in says(REACH, **auth(wrong))
        assert "cannot be opened" in says(REACH, **auth(tmp_path / "none"))
        assert "there are 2: 0 CPU, 0 GPU; 1 CPU, 0 GPU" in says(GATHER, SEGPRINT_WORKERS="2x1x1")
        assert "1 of 3 nodes of 1 CPU and 0 GPU" in says(GATHER, SEGPRINT_WORKERS="3x1x0")

        shown = segprint("status", "existing", **auth(token), RAY_ADDRESS=nodes.ask("dashboard"))
        assert [line.split()[0] for line in shown.stdout.splitlines()] == ["node", "node"]
        assert "ALIVE head, 0 CPU" in shown.stdout.splitlines()[0]

        told = segprint("doctor", "--on", "existing", "--json", **nodes.env)
        state = {row["check"]: row["state"] for row in json.loads(told.stdout)}
        assert {v for k, v in state.items() if k.startswith("node")} == {"ok"}
        assert state["gloo between nodes"] == "ok"
        assert told.returncode == 0

        says(OTHER)
        told = says(REACH)
        assert "runs Ray 2.9.3 and Python 3.10.4, this environment has Ray 2.60" in told
        assert "Python " + sys.version.split()[0] in told


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
def test_either_address_of_a_cluster_finds_the_other(tmp_path: Path, segprint: Segprint) -> None:
    token = tmp_path / "token"
    token.write_text("planted-token-" + "0" * 50)
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    (tmp_path / "tiny.py").write_text(TINY)
    with Nodes(1, auth) as nodes:
        head, dashboard = nodes.env["RAY_ADDRESS"], nodes.ask("dashboard")

        def at(address: str, *words: str) -> subprocess.CompletedProcess[str]:
            return segprint(*words, **{**auth, "RAY_ADDRESS": address})

        by_head, by_dashboard = (at(place, "status", "existing") for place in (head, dashboard))
        assert by_head.stdout == by_dashboard.stdout != "", by_head.stderr
        swept = at(dashboard, "sweep", "./tiny.py", "--on", "existing", "--json")
        assert json.loads(swept.stdout)["complete"], swept.stderr
        shown = at(head, "submit", "existing", "./tiny.py", "--dry-run")
        assert f"# to {dashboard}, submission segprint-tiny-" in shown.stdout, shown.stderr
    gone = at(head, "status", "existing")
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert f"no Ray at RAY_ADDRESS={head}" in gone.stderr
    gone = at(dashboard, "sweep", "./tiny.py", "--on", "existing", "--as", "other")
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1), gone.stderr
    assert f"no Ray Jobs at {dashboard}" in gone.stderr


TINY = f"""from search_spaces import *
SPACE = Space(question="?", config={ ({**SMALL, "mode": "feedforward"})!r})
"""
REACH = """
import sys
from cluster import _head_probe
try:
    _head_probe.probe(sys.argv[1])
    print("reached")
except ConnectionError as error:
    print(error)
"""
GATHER = """
import ray
from cluster import _node_wait
ray.init(address="auto", log_to_driver=False)
try:
    with _node_wait.waited(1.0):
        pass
except ConnectionError as error:
    print(error)
"""
OTHER = """
import sys
from ray._raylet import GcsClient
noted = b'{"ray_version": "2.9.3", "python_version": "3.10.4"}'
GcsClient(address=sys.argv[1]).internal_kv_put(b"CLUSTER_METADATA", noted, True, b"cluster")
"""
