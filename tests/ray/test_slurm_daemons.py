"""Slurm itself: its controller and two nodes, in network namespaces, run a submitted study."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from tests.conftest import ROOT, SMALL
from tests.faults.nodes import QUICK
from tests.ray.test_namespaces import HEAD, WORKER, Spaces

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]
STUDY = f"""from search_spaces import *
SPACE = Space(
    question="?", config={ ({**SMALL, "mode": "feedforward"})!r}, replicates=2
)
"""
LAB = f"""from cluster.slurm import Slurm
CLUSTER = Slurm(nodes=2, gpus=0, cpus=1, setup="export PATH={Path(sys.executable).parent}:$PATH")
"""
CONF = """
ClusterName=segprint
SlurmctldHost={host}({head})
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName=n1 NodeAddr={head} CPUs=1 State=UNKNOWN
NodeName=n2 NodeAddr={worker} CPUs=1 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Partition:
    """A Slurm partition of two nodes."""

    def __init__(self, spaces: Spaces, place: Path) -> None:
        self.spaces, self.place = spaces, place
        self.env = {**os.environ, **QUICK, "SLURM_CONF": str(place / "slurm.conf")}
        # The loopback binding of the other tests is, by its name, for one node only.
        self.env.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
        self.env |= {"GLOO_SOCKET_IFNAME": "wire", "PYTHONPATH": str(ROOT), "HOME": str(place)}

    def start(self) -> None:
        for folder in ("state", "spool-n1", "spool-n2"):
            (self.place / folder).mkdir()
        # Processes are tracked by their parents; `ip netns exec` shows no control groups.
        (self.place / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.place / "slurm.conf").write_text(
            CONF.format(host=os.uname().nodename, head=HEAD, worker=WORKER, place=self.place)
        )
        for which, daemon in (
            (0, ["slurmctld", "-D"]),
            (0, ["slurmd", "-D", "-N", "n1"]),
            (1, ["slurmd", "-D", "-N", "n2"]),
        ):
            with (self.place / f"{daemon[0]}{which}.out").open("wb") as log:
                process = subprocess.Popen(
                    self.spaces.inside(which, *daemon), env=self.env, stdout=log, stderr=log
                )
            self.spaces.started.append(process)
        deadline = time.monotonic() + 90
        while self.run("sinfo", "--noheader", "--format=%t %D").split() != ["idle", "2"]:
            assert time.monotonic() < deadline, self.logs("*.out")
            time.sleep(0.5)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            self.spaces.inside(0, *command),
            cwd=self.place,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    def segprint(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "orchestrator.cli", *words)

    def logs(self, pattern: str) -> str:
        return "\n".join(p.read_text(errors="replace")[-3000:] for p in self.place.rglob(pattern))


@pytest.fixture
def partition(tmp_path: Path) -> Iterator[Partition]:
    for program in ("slurmctld", "slurmd", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here (Debian: slurm-wlm, iproute2)")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons and network namespaces need root")
    with Spaces() as spaces:
        hosts = [Path("/etc/netns", name) for name in spaces.names]
        try:
            for folder in hosts:  # what `ip netns exec` shows as /etc/hosts
                folder.mkdir(parents=True)
                (folder / "hosts").write_text(f"127.0.0.1 localhost\n{HEAD} n1\n{WORKER} n2\n")
            started = Partition(spaces, tmp_path)
            started.start()
            yield started
        finally:
            for folder in hosts:
                shutil.rmtree(folder, ignore_errors=True)


def test_a_submitted_study_is_swept_by_slurm_on_two_nodes(
    partition: Partition, tmp_path: Path
) -> None:
    (tmp_path / "lab.py").write_text(LAB)
    (tmp_path / "mine.py").write_text(STUDY)
    submitted = partition.segprint("submit", "./lab.py", "./mine.py")
    assert "Submitted batch job" in submitted
    assert "study mine" in partition.segprint("status", "./lab.py")
    deadline = time.monotonic() + 300
    while partition.run("squeue", "--noheader").strip():
        assert time.monotonic() < deadline, partition.logs("*.log")
        time.sleep(1)
    assert len(Ledger(Store(str(tmp_path / "results"))).commits()) == 2, partition.logs("*.log")
    (log,) = (tmp_path / ".segprint").rglob("job.log")
    assert "2 finished" in log.read_text()
    nodes = {path.name for path in log.parent.glob("ray-*.log")}
    assert nodes == {f"ray-{HEAD}.log", "ray-n2.log"}
    assert not list(log.parent.glob("run-*"))  # the token went with its job
    assert partition.run("sinfo", "--noheader", "--format=%t %D").split() == ["idle", "2"]
