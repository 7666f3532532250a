"""Two nodes in network namespaces of their own: real addresses, and a wire that can be cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from tests.conftest import ROOT
from tests.faults.nodes import QUICK
from tests.ray.test_jobs import STUDY

HEAD, WORKER = (f"10.213.{os.getpid() % 250}.{i}" for i in (1, 2))
RAY = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1")


class Spaces:
    """Two namespaces, ``a`` and ``b``, with one wire between them and nothing else."""

    def __init__(self) -> None:
        self.names = [f"segprint{os.getpid()}{letter}" for letter in "ab"]
        self.started: list[subprocess.Popen[bytes]] = []

    def ip(self, *words: str) -> bool:
        done = subprocess.run(["ip", *words], capture_output=True, check=False)
        return done.returncode == 0

    def __enter__(self) -> Spaces:
        a, b = self.names
        wire = ("link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire")
        made = all(self.ip("netns", "add", name) for name in self.names)
        made = made and self.ip(*wire, "netns", b)
        for name, address in zip(self.names, (HEAD, WORKER), strict=True):
            made = made and self.ip("-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            made = made and self.ip("-n", name, "link", "set", "wire", "up")
            made = made and self.ip("-n", name, "link", "set", "lo", "up")
        if not made:
            self.__exit__()
            pytest.skip("no network namespaces can be made here")
        return self

    def inside(self, which: int, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[which], *command]

    def cut(self) -> None:
        assert self.ip("-n", self.names[0], "link", "set", "wire", "down")

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            found = subprocess.run(
                ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
            )
            for pid in found.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            self.ip("netns", "del", name)
        for process in self.started:
            process.wait()


@pytest.fixture
def spaces() -> Iterator[Spaces]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    with Spaces() as made:
        yield made


@pytest.fixture
def short() -> Iterator[str]:
    """A directory whose name leaves room for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_study_ends_though_the_wire_to_a_node_is_cut(
    spaces: Spaces, tmp_path: Path, short: str
) -> None:
    (tmp_path / "token").write_text("planted-token-" + "0" * 50)
    (tmp_path / "mine.py").write_text(STUDY)
    env = {
        **os.environ,
        **QUICK,
        "GLOO_SOCKET_IFNAME": "wire",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "SEGPRINT_CACHE": str(tmp_path / "cache"),
    }
    # The loopback binding of the other tests is, by its name, for one node only.
    env.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    head = [*RAY, "--head", f"--node-ip-address={HEAD}", "--port=6379", f"--temp-dir={short}"]
    worker = [*RAY, f"--address={HEAD}:6379", f"--node-ip-address={WORKER}"]

    # Machines of their own have disks of their own: what Ray writes on one, it deletes there.
    apart = (
        "sh",
        "-c",
        f'mkdir "$0" && mount --bind "$0" {short} && exec "$@"',
        f"{tmp_path}/disk",
    )
    worker = [*apart, *worker]

    def started(which: int, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (tmp_path / name).open("wb") as log:
            process = subprocess.Popen(
                spaces.inside(which, *command), env=env, stdout=log, stderr=log
            )
        spaces.started.append(process)
        return process

    def segprint(*words: str, address: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "orchestrator.cli", "--store", str(store), *words)
        return subprocess.run(
            spaces.inside(0, *command),
            cwd=tmp_path,
            env={**env, "RAY_ADDRESS": address},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    store, dashboard, both = tmp_path / "store", "http://127.0.0.1:8265", set[str]()
    running = [started(0, head, "head.log")]
    deadline = time.monotonic() + 120
    while len(both) < 2:
        assert time.monotonic() < deadline, (tmp_path / "head.log").read_text()
        assert running[-1].poll() is None, "".join(p.read_text() for p in tmp_path.glob("*.log"))
        told = segprint("status", "existing", "--json", address=dashboard)
        rows = json.loads(told.stdout) if told.returncode == 0 else []
        both = {row["name"] for row in rows if row["state"] == "ALIVE"}
        if len(running) == 1 and both:
            running.append(started(1, worker, "worker.log"))
    assert both == {HEAD, WORKER}

    told = segprint("doctor", "--on", "existing", "--json", address=f"{HEAD}:6379")
    state = {row["check"]: (row["state"], row["found"]) for row in json.loads(told.stdout)}
    assert state["nodes"] == ("ok", f"2: {HEAD}, {WORKER}")
    assert state["gloo between nodes"][0] == "ok", state

    assert segprint("submit", "existing", "./mine.py", address=dashboard).returncode == 0
    ledger = Ledger(Store(str(store)))
    while not ledger.commits():
        assert time.monotonic() < deadline + 150
        time.sleep(0.3)
    spaces.cut()
    followed = segprint("logs", "existing", "./mine.py", address=dashboard)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert len(ledger.commits()) == 6
    after = json.loads(segprint("status", "existing", "--json", address=dashboard).stdout)
    dead = {row["name"]: row["state"] for row in after if row["what"] == "node"}
    assert dead == {HEAD: "ALIVE", WORKER: "DEAD"}
    (study,) = (row for row in after if row["what"] == "study")
    assert (study["name"], study["state"]) == ("mine", "SUCCEEDED")
