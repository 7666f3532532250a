"""The wheel, installed in another project's environment: nothing needs the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.remote.package import sources
from tests.conftest import ROOT, SMALL

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]
TINY = f"""from search_spaces import *
SPACE = Space(
    question="?", config={ ({**SMALL, "mode": "feedforward"})!r}, replicates=2
)
"""
Run = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, which is built in a copy of it."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    for package in ("orchestrator", "trainables", "search_spaces", "cluster"):
        shutil.copytree(ROOT / package, copy / package)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", "dist", "."], cwd=copy, check=True)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture
def run(wheel: Path, tmp_path: Path) -> Run:
    """Run commands of a new environment that has the wheel, in an empty directory.

    The packages that the wheel depends on are those of this environment.
    """
    place, project = tmp_path / "venv", tmp_path / "project"
    project.mkdir()
    venv.create(place, symlinks=True)
    scheme = sysconfig.get_preferred_scheme("prefix")
    variables = {"base": str(place), "platbase": str(place)}
    site = Path(sysconfig.get_path("purelib", scheme, variables))
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"))
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel)], check=True)

    def call(*command: str) -> str:
        outside = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [str(place / "bin" / command[0]), *command[1:]],
            cwd=project,
            env={**outside, "SEGPRINT_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_a_wheel_has_every_file_that_a_cluster_is_sent(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {name for name in sources() if "/" in name}


def test_another_project_sweeps_and_reports_with_the_wheel_alone(run: Run, tmp_path: Path) -> None:
    where = run("python", "-c", "import orchestrator; print(orchestrator.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path)
    assert "sweep" in run("segprint", "--help")
    assert run("python", "-m", "orchestrator", "--help") == run("segprint", "--help")
    assert "nuclei" in run("segprint", "ls", "datasets")
    (tmp_path / "project" / "tiny.py").write_text(TINY)
    swept = json.loads(run("segprint", "sweep", "tiny.py", "--json"))
    assert swept["complete"]
    (row,) = json.loads(run("segprint", "query", "SELECT DISTINCT code FROM trials", "--json"))
    assert row["code"].startswith("segprint ")
    run("segprint", "report", "tiny", "-o", "report.html")
    page = (tmp_path / "project" / "report.html").read_text()
    assert "<style>" in page
    assert "tiny" in page
    exported = (
        "from orchestrator import open_store; print(open_store('results')['trials'].num_rows)"
    )
    assert run("python", "-c", exported).strip() == "2"
