"""What a cluster refuses, or still runs, is told in one line with its cure."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import cluster
from cluster import Remote
from cluster.kuberay import Kuberay
from cluster.slurm import Slurm
from tests.conftest import SMALL, Segprint
from tests.unit.test_clusters import JOB, REMOTE, described

Tool = Callable[[str, str], None]
LEFT = "committed results stay, and submitting again continues"
AWS_QUOTA = (
    "botocore.exceptions.ClientError: An error occurred (VcpuLimitExceeded) when calling the"
    " RunInstances operation: You have requested more vCPU capacity than your current vCPU limit"
)
KUBERNETES_QUOTA = (
    'Error from server (Forbidden): error when creating "rayjob.yaml": exceeded quota: gpus,'
    " requested: count/rayjobs.ray.io=1, used: 4, limited: 4"
)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Put a stand-in on the path, before whatever there is."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    # "ray" is looked for beside the interpreter first.
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    (tmp_path / "mine.py").write_text(
        f"from search_spaces import *\nSPACE = Space(question='?', config={SMALL!r})\n"
    )

    def put(name: str, body: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)

    return put


def says(text: str, code: int = 1) -> str:
    return f"echo {shlex.quote(text)} >&2; exit {code}"


@pytest.mark.parametrize(
    ("where", "name", "said", "cure"),
    [
        ("slurm", "sbatch", "sbatch: error: QOSMaxGRESPerUser", "ask for less (nodes=, gpus="),
        ("slurm", "sbatch", "sbatch: error: invalid partition specified: gpu", "sinfo lists"),
        (
            "slurm",
            "sbatch",
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller",
            "check that this machine can reach",
        ),
        ("kuberay", "kubectl", KUBERNETES_QUOTA, "ask for less (nodes=, gpus="),
        ("kuberay", "kubectl", 'error: no matches for kind "RayJob"', "install the KubeRay"),
        ("kuberay", "kubectl", 'namespaces "segprint" not found', "kubectl create namespace"),
        ("kuberay", "kubectl", "error: You must be logged in (Unauthorized)", "log in, or have"),
        ("aws", "ray", AWS_QUOTA, "ask for less (nodes=, gpus="),
        ("gcp", "ray", "Quota 'NVIDIA_L4_GPUS' exceeded. Limit: 0.0 in us-central1", "ask for"),
        ("gcp", "ray", "ZONE_RESOURCE_POOL_EXHAUSTED", "no free capacity"),
        ("gcp", "ray", "DefaultCredentialsError: Your default credentials", "log in, or have"),
        ("aws", "ray", "Something nobody has seen", "ended with 1: Something nobody has seen"),
    ],
)
def test_what_a_tool_refuses_is_one_line_with_its_cure(
    where: str, name: str, said: str, cure: str, tool: Tool, inline: Segprint
) -> None:
    tool(name, says(f"Some words before\n{said}\n"))
    done = inline("--store", "s3://b/x", "submit", where, "./mine.py")
    assert done.returncode == 1
    assert "Some words before" in done.stdout  # all of it is passed on
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"segprint: {name} ")
    assert said[:100] in line
    assert cure in line


RUNS = {
    "slurm": ("squeue", "echo '71 segprint/segprint RUNNING segprint-my-study None'"),
    "kuberay": ("kubectl", 'test "$4" != rayjob || echo "study my-study Running "'),
    "aws": ("ray", "echo 'study my-study RUNNING segprint-my-study-1f, submitted today'"),
    "gcp": ("ray", "echo 'study my-study PENDING segprint-my-study-1f, submitted today'"),
}
ENDED = {
    "slurm": ("squeue", "echo '71 segprint/another RUNNING segprint-my-study None'"),
    "kuberay": ("kubectl", 'test "$4" != rayjob || echo "study my-study Complete "'),
    "aws": ("ray", "echo 'study my-study SUCCEEDED segprint-my-study-1f, submitted today'"),
    "gcp": ("ray", "echo 'study my-study STOPPED segprint-my-study-1f, submitted today'"),
}
STOPS = {"slurm": "71", "kuberay": "delete rayjob", "aws": "down --yes", "gcp": "down --yes"}


def put(tool: Tool, of: tuple[str, str], place: Path) -> None:
    """A cluster's tools; what each is asked goes to a file."""
    for name in ("sinfo", "squeue", "scancel", "kubectl", "ray"):
        tool(name, f'echo "{name} $@" >> {place}/asked\n{of[1] if name == of[0] else ""}')


@pytest.mark.parametrize("name", REMOTE)
def test_a_cluster_with_a_study_that_runs_goes_down_by_force_only(
    name: str, tool: Tool, inline: Segprint, tmp_path: Path
) -> None:
    put(tool, RUNS[name], tmp_path)
    refused = inline("down", name)
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    state = "PENDING" if name == "gcp" else "R"
    assert f"cluster {name!r} has my-study ({state}" in line
    assert f"or stop it with `segprint down {name} --force`; {LEFT}" in line
    assert STOPS[name] not in (tmp_path / "asked").read_text()
    assert inline("down", name, "--force").returncode == 0
    assert STOPS[name] in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("name", REMOTE)
def test_a_cluster_without_one_goes_down_when_told(
    name: str, tool: Tool, inline: Segprint, tmp_path: Path
) -> None:
    put(tool, ENDED[name], tmp_path)
    done = inline("down", name)
    assert done.returncode == 0, done.stderr
    if name != "slurm":  # there is no job of this cluster to cancel
        assert STOPS[name] in (tmp_path / "asked").read_text()


def test_a_cluster_that_does_not_answer_goes_down_by_force_only(
    tool: Tool, inline: Segprint, tmp_path: Path
) -> None:
    put(
        tool,
        ("ray", 'test "$1" != exec || { echo "ssh: connect failure" >&2; exit 255; }'),
        tmp_path,
    )
    refused = inline("down", "aws")
    assert refused.returncode == 2
    assert "it is not known whether a study runs there" in refused.stderr
    assert "ssh: connect failure" in refused.stderr
    assert inline("down", "aws", "--force").returncode == 0


@pytest.mark.parametrize("name", REMOTE)
def test_a_clusters_status_names_its_studies(
    name: str, tool: Tool, inline: Segprint, tmp_path: Path
) -> None:
    put(tool, RUNS[name], tmp_path)
    shown = inline("status", name, "--dry-run")
    assert not (tmp_path / "asked").exists()
    done = inline("status", name)
    assert done.returncode == 0, done.stderr
    assert "study my-study " in done.stdout
    for line in (tmp_path / "asked").read_text().splitlines():
        assert line.split()[0] in shown.stdout
    (row,) = json.loads(inline("status", name, "--json").stdout)
    assert (row["what"], row["name"]) == ("study", "my-study")


def test_a_file_says_by_itself_whether_it_is_a_cluster(tmp_path: Path) -> None:
    for text, is_one in (
        ("CLUSTER = 1\n", True),
        ("SPACE = 1\nx = 'CLUSTER = 1'\n", False),
        ("raise SystemExit\nCLUSTER = 1\n", True),  # it is not run
        ("CLUSTER = (\n", False),
    ):
        (tmp_path / "f.py").write_text(text)
        assert cluster.is_cluster(str(tmp_path / "f.py")) is is_one
    assert cluster.is_cluster("slurm")
    assert not cluster.is_cluster("quickstart")


@pytest.mark.parametrize("name", REMOTE)
def test_no_cluster_is_asked_of_anothers_studies(name: str) -> None:
    where = described(name)
    mine = type(where)(name="lab")
    assert isinstance(mine, Remote)
    said = json.dumps([mine.status(), mine.down()])
    if isinstance(mine, (Slurm, Kuberay)):
        assert "segprint/lab" in said or "segprint/cluster=lab" in said
    assert "#SBATCH --comment=segprint/lab\n" in Slurm(name="lab").files(JOB)["job.sbatch"]
