"""Fixtures: small configs, a local ledger, a real S3 server, the command line as users call it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from orchestrator.cli import main
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from tests.parallel import ByFolder
from tests.server import serving
from trainables.config import Config, parse

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The speed of this machine is not under test."""
settings.register_profile("fixed", UNTIMED, derandomize=True, database=None)
settings.register_profile("new", UNTIMED, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

ROOT = Path(__file__).parent.parent
collect_ignore_glob = ["golden/stores/*"]
"""Spaces of stored studies are no tests; their names are those of the studies."""
SMALL_UNET = {"ensemdiff": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": []}}
SMALL = {
    "task": {"synthetic": {"size": 16, "cases": 4}},
    "model": SMALL_UNET,
    "mode": {"diffusion": {"sampler": {"ddim": {"steps": 2}}}},
    "train": {"steps": 6, "batch": 4, "validate_every": 2},
    "probe": {"bins": 4, "draws": 1},
}

Segprint = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return ByFolder(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Iterator[None]:
    """Leave the objects of the imports out of every garbage collection while tests run."""
    gc.collect()
    gc.freeze()
    try:
        return (yield)
    finally:
        gc.unfreeze()


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _no_power_cut() -> Iterator[None]:
    """Files need not reach the disk: no test of this process cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def small() -> Callable[..., Config]:
    """A config that trains in a second, with values replaced by path: ``small(mode=...)``."""

    def make(**changes: Any) -> Config:
        return parse({**SMALL, **changes})

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(str(tmp_path / "store")))


@pytest.fixture
def segprint(tmp_path: Path) -> Segprint:
    """Call the command line in an empty directory, as a user would."""

    def call(*arguments: str, timeout: float = 240, **env: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call


@pytest.fixture
def inline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Segprint]:
    """The same in this process, which has imported torch already: for what starts no Ray."""
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **env: str) -> Any:
        os.environ.update(env)
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    yield call
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server on loopback, and the environment that leads to it."""
    with serving(tmp_path_factory.mktemp("s3")) as env:
        yield env
