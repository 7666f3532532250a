"""A real S3 server on loopback, for tests and benchmarks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WEED = str(Path(sys.executable).with_name("weed"))
BUCKET = "segprint-test"
FLAGS = (
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
)


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """SeaweedFS with its files in a folder; yields the environment that leads to it."""
    ports = free_ports(len(FLAGS))
    env = {
        "AWS_ACCESS_KEY_ID": "planted-key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_REGION": "us-east-1",
    }
    known = subprocess.run([WEED, "mini", "-h"], capture_output=True, text=True, check=False)
    command = [
        *(WEED, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-webdav=false", "-admin.ui=false", f"-bucket={BUCKET}"),
        *(
            f"-{flag}={port}"
            for flag, port in zip(FLAGS, ports, strict=True)
            if f"-{flag} " in known.stdout + known.stderr
        ),
    ]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{ports[FLAGS.index('s3.port')]}"
        _wait_until_serving(env, folder / "log")
        yield env
    finally:
        server.kill()  # a graceful stop takes up to half a minute
        server.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on at the moment."""
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
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-2000:]}")
