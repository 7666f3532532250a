"""Fixtures: small configs, a local ledger, a real S3 server, the command line as users call it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from orchestrator.cli import main
from orchestrator.ledger import Ledger
from orchestrator.store import Store
from trainables.config import Config, parse

settings.register_profile("untimed", deadline=None)  # this machine's speed is not under test
settings.load_profile("untimed")

WEED = str(Path(sys.executable).with_name("weed"))
ROOT = Path(__file__).parent.parent
SMALL_UNET = {"ensemdiff": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": []}}
SMALL = {
    "task": {"synthetic": {"size": 16, "cases": 4}},
    "model": SMALL_UNET,
    "mode": {"diffusion": {"sampler": {"ddim": {"steps": 2}}}},
    "train": {"steps": 6, "batch": 4, "validate_every": 2},
    "probe": {"bins": 4, "draws": 1},
}

Segprint = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


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
    folder = tmp_path_factory.mktemp("s3")
    ports = _free_ports(12)
    flags = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
        "s3.port.iceberg",
        "webdav.port",
        "admin.port",
        "admin.port.grpc",
    ]
    env = {
        "AWS_ACCESS_KEY_ID": "planted-key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_REGION": "us-east-1",
    }
    known = subprocess.run([WEED, "mini", "-h"], capture_output=True, text=True, check=False)
    command = [
        *(WEED, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-webdav=false", "-admin.ui=false", "-bucket=segprint-test"),
        *(
            f"-{flag}={port}"
            for flag, port in zip(flags, ports, strict=True)
            if f"-{flag} " in known.stdout + known.stderr
        ),
    ]
    endpoint = f"http://127.0.0.1:{ports[flags.index('s3.port')]}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        env["AWS_ENDPOINT_URL"] = endpoint
        _wait_until_serving(env, folder / "log")
        yield env
    finally:
        server.kill()  # a graceful stop takes up to half a minute
        server.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _wait_until_serving(env: dict[str, str], log: Path) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            client.put_object(Bucket="segprint-test", Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the S3 server did not start:\n{log.read_text()[-2000:]}")
