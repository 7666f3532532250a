"""Described clusters: what they send is valid for whom it is sent to, safe, and without secrets."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import cluster
from cluster import Job, Remote
from cluster.aws import Aws
from cluster.gcp import Gcp
from cluster.kuberay import Kuberay
from cluster.slurm import Slurm
from orchestrator.remote.launcher import launch
from orchestrator.remote.package import DATA_FILES, stage
from tests.conftest import ROOT, SMALL, Segprint
from tests.spaces import SCHEDULE

SECRET = "planted-secret-of-the-store"
CLI = ("-m", "orchestrator.cli", "--store", "s3://bucket/x")
JOB = Job(
    name="my_study",
    run=(*CLI, "sweep", "my_study.py", "--on", "existing"),
    submit=(*CLI, "submit", "existing", "my_study.py"),
    logs=(*CLI, "logs", "existing", "my_study.py"),
    files={"my_study.py": "SPACE = 1\n", "parts/net.py": "x = 'a: b # c'\n"},
)
REMOTE = [n for n in cluster.names() if isinstance(cluster.load(n), Remote)]
MINE = f"from search_spaces import *\nSPACE = Space(question='?', config={SMALL!r})\n"


def described(name: str) -> Remote:
    where = cluster.load(name)
    assert isinstance(where, Remote)
    return where


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials where people have them, and a home of its own."""
    for key in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(key, SECRET)
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


# -- descriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Slurm(nodes=0), "Slurm: nodes=0 must be at least 1"),
        (
            lambda: Slurm(name="My_Lab"),
            "name='My_Lab' must have at most 30 characters of a-z",
        ),
        (lambda: Slurm(partition="a\n#SBATCH --uid=0"), "must consist of letters"),
        (lambda: Aws(hours=0), "Aws: hours=0 must be above 0 and at most 720"),
        (lambda: Aws(env={"AWS_SECRET_ACCESS_KEY": "x"}), "looks like a credential"),
        (lambda: Aws(env={"WANDB_API_KEY": "x"}), "looks like a credential"),
        (lambda: Kuberay(env={"A=B": "x"}), "'A=B' must be the name of a variable"),
        (lambda: Gcp(zone="europe-west4-a"), "zone='europe-west4-a' must be in region"),
        (lambda: Kuberay(image=""), "Kuberay: image must not be empty"),
    ],
)
def test_a_description_that_cannot_be_says_why(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make()


def test_a_description_of_the_users_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    mine = tmp_path / "lab.py"
    mine.write_text("from cluster.slurm import Slurm\nCLUSTER = Slurm(nodes=3, name='lab')\n")
    assert cluster.load(str(mine)) == Slurm(nodes=3, name="lab")
    mine.write_text("CLUSTER = 3\n")
    with pytest.raises(ValueError, match="must define CLUSTER"):
        cluster.load(str(mine))
    mine.write_text("import nothing_of_that_name\n")
    with pytest.raises(ValueError, match="ModuleNotFoundError"):
        cluster.load(str(mine))
    with pytest.raises(ValueError, match="there is no such file"):
        cluster.load(str(tmp_path / "none.py"))


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("name", REMOTE)
def test_nothing_that_is_sent_holds_a_credential_of_the_environment(name: str) -> None:
    where = described(name)
    commands = [*where.up(), *where.submit(JOB), *where.logs(JOB), *where.down()]
    sent = json.dumps([where.files(), where.files(JOB), commands])
    assert SECRET not in sent
    assert "my_study.py" in sent


# -- Slurm ----------------------------------------------------------------------------------------


def test_shellcheck_finds_nothing_in_the_slurm_script(tmp_path: Path) -> None:
    where = Slurm(setup="module load cuda", partition="gpu", env={"SEGPRINT_DATA": "/a b/$c"})
    script = tmp_path / "job.sbatch"
    script.write_text(where.files(JOB)["job.sbatch"])
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))
    # SC2016: a "$" in a value is meant as it is.
    for check in (["bash", "-n"], [shellcheck, "--exclude=SC2016"]):
        done = subprocess.run([*check, str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_slurm_options_come_before_the_first_command() -> None:
    lines = Slurm(gpus=0, hours=0.5).files(JOB)["job.sbatch"].splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : 1 + len(options)] == options
    assert "#SBATCH --time=30" in options
    assert not any("gpus" in line for line in options)


# -- clouds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [Aws(), Aws(gpus=0, image="ami-1"), Gcp(), Gcp(gpus=0)])
def test_ray_takes_the_config_of_a_cloud(where: Aws | Gcp) -> None:
    import jsonschema
    from ray import autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(where.files()["cluster.yaml"])
    schema = Path(str(autoscaler.__file__)).with_name("ray-schema.json")
    jsonschema.validate(config, json.loads(schema.read_text()))
    validate_config(prepare_config(config))


@pytest.mark.parametrize("where", [Aws(name="lab"), Gcp(name="lab")])
def test_a_cloud_has_a_head_that_stays_and_workers_from_the_market(where: Aws | Gcp) -> None:
    kinds = where.config()["available_node_types"]
    spot = {k: "spot" in json.dumps(v["node_config"]).lower() for k, v in kinds.items()}
    assert spot == {"head": False, "worker": True}
    assert kinds["head"]["resources"]["CPU"] == 0  # drivers only, whatever the market does
    assert all("lab" in json.dumps(kind["node_config"]) for kind in kinds.values())  # tagged
    assert kinds["worker"]["min_workers"] == 0  # idle ones are given back
    assert any("shutdown -h +1440" in line for line in where.config()["setup_commands"])
    for start in where.config()["head_start_ray_commands"][1:2]:
        assert "--dashboard-host=127.0.0.1" in start
        assert "RAY_AUTH_MODE=token" in start


def test_the_token_of_a_cloud_is_made_once_and_for_its_owner_alone(
    planted: None, tmp_path: Path
) -> None:
    assert launch(Aws(), None, []) == 0
    (token,) = (tmp_path / "home").rglob("token")
    first = token.read_text()
    assert len(first) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert first not in json.dumps(Aws().files())
    token.chmod(0o644)
    launch(Aws(), None, [])
    assert token.read_text() == first
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


# -- the command line -----------------------------------------------------------------------------


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("name", REMOTE)
def test_a_dry_run_prints_everything_and_sends_nothing(
    name: str, inline: Segprint, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = inline("--store", "s3://b/x", "submit", name, "./mine.py", "--dry-run")
    assert done.returncode == 0, done.stderr
    for text in described(name).files():
        assert f"# --- {text}\n" in done.stdout
    assert "sweep mine.py --on existing" in done.stdout or "submit existing mine.py" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "slurmm", "./mine.py"], "unknown cluster 'slurmm'; did you mean 'slurm'?"),
        (["submit", "./none.py", "./mine.py"], "cluster './none.py': there is no such file"),
        (["submit", "aws", "./mine.py"], "'results' is a directory of this machine"),
        (["up", "local"], "up does not apply to cluster 'local': segprint sweep SPACE --on local"),
        (["sweep", "./mine.py", "--on", "aws"], "cannot be reached from here: segprint submit aws"),
        (["submit", "existing", "./mine.py"], "must be s3://BUCKET/PREFIX"),
        (
            ["--store", "s3://b/x", "submit", "existing", "./mine.py"],
            "must be HOST:PORT of the head",
        ),
        (["--store", "s3://b/x", "submit", "kuberay", "./mine.py"], "'kubectl' is not installed"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str],
    message: str,
    inline: Segprint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    done = inline(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_tools_of_a_cluster_get_the_files_that_a_dry_run_shows(
    inline: Segprint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "kubectl").write_text('#!/bin/sh\necho "$@" >> "$SAID"\ntest "$3" != create\n')
    (tools / "kubectl").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    (tmp_path / "mine.py").write_text(MINE)
    words = ("--store", "s3://b/x", "submit", "kuberay", "./mine.py")
    shown = inline(*words, "--dry-run").stdout
    done = inline(*words)
    assert done.returncode == 1  # as the tool's second command
    assert "rayjob.yaml" in done.stderr
    said = [f"kubectl {line}" for line in (tmp_path / "said").read_text().splitlines()]
    assert [line.split()[3] for line in said] == ["apply", "get", "create"]
    assert all(line.partition(" --output")[0] in shown for line in said)
    for file in (tmp_path / "home").rglob("*.yaml"):
        assert file.read_text().rstrip() in shown


def test_what_a_study_imports_from_folders_is_sent(inline: Segprint, tmp_path: Path) -> None:
    """And no other file of a folder, however large the tree around the study is."""
    names = ("parts/line.py", "parts/blocks/__init__.py", "parts/blocks/deep.py", "lib/__init__.py")
    for name in (*names, "parts/other.py", "lib/unused.py", "beside.py", "venv/lib/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "parts/blocks/deep.py").write_text("TOP = 4.0\n")
    imports = "from blocks.deep import TOP\nfrom dataclasses"
    (tmp_path / "parts/line.py").write_text(SCHEDULE.replace("from dataclasses", imports))
    config = {**SMALL, "mode": {"diffusion": {"schedule": "parts/line.py"}}}
    study = f"import lib\nfrom search_spaces import *\nSPACE = Space('?', {config!r}, gpus=0)\n"
    (tmp_path / "mine.py").write_text(study)
    for where, key in (("slurm", "# --- source/"), ("kuberay", "path: ")):
        done = inline("--store", "s3://b/x", "submit", where, "./mine.py", "--dry-run")
        assert done.returncode == 0, done.stderr
        sent = set(re.findall(rf"{key}(\S+\.py)$", done.stdout, re.MULTILINE))
        assert sent == {*names, "beside.py", "mine.py"}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"x = '\xff'\n", "beside.py is sent with the study and must be UTF-8"),
        (b"#" * (9 * 2**20), "Kubernetes takes at most 1"),
    ],
    ids=["bytes", "large"],
)
def test_files_that_cannot_be_sent_are_refused_with_one_line(
    inline: Segprint, tmp_path: Path, content: bytes, rule: str
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "beside.py").write_bytes(content)
    done = inline("--store", "s3://b/x", "submit", "kuberay", "./mine.py", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert rule in line


# -- the source -----------------------------------------------------------------------------------


def test_the_copy_of_the_source_has_the_files_of_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"] == DATA_FILES
    assert all(any((ROOT / p).glob(at)) for p, each in DATA_FILES.items() for at in each)


def test_the_copy_of_the_source_runs_and_holds_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    stage(JOB, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {
        *{".py", ".csv", ".css", ".html", ".js", ".j2", ".toml", ".md", ".txt"},
        "",
    }
    assert not {"tests", ".venv", ".git", "results", "__pycache__"} & {
        part for path in files for part in path.parts[len(folder.parts) :]
    }
    assert sum(path.stat().st_size for path in files) < 3 << 20
    assert (folder / "parts" / "net.py").read_text() == JOB.files["parts/net.py"]
    code = "import cluster, orchestrator.provenance as p; print(cluster.__file__, p.code_version())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    where, *version = done.stdout.split()
    assert Path(where).is_relative_to(folder)
    assert " ".join(version) == (folder / "code-version").read_text().strip()
