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
PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "webdav.port",
    "admin.port",
    "admin.port.grpc",
)
OFF = {
    **{"s3.port.iceberg": 0, "s3.port.lance": 0},
    **dict.fromkeys(("webdav", "admin.ui", "master.telemetry"), "false"),
}
"""Parts of the server that no test needs; not every version has all of them."""
STARTS = 3
"""Attempts to start: another process may take a port between its choice and its use."""


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """SeaweedFS with its files in a folder; yields the environment that leads to it."""
    usage = subprocess.run([WEED, "mini", "-h"], capture_output=True, text=True, check=False)
    known = (usage.stdout + usage.stderr).split()
    for attempt in range(STARTS):
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        env = {
            "AWS_ACCESS_KEY_ID": "planted-key",
            "AWS_SECRET_ACCESS_KEY": "planted-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
        }
        flags = {**OFF, **ports}
        command = [
            *(WEED, "mini", f"-dir={folder / str(attempt)}", f"-bucket={BUCKET}"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-{k}={v}" for k, v in flags.items() if f"-{k}" in known),
        ]
        (folder / str(attempt)).mkdir()
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
        try:
            if _serves(server, env):
                yield env
                return
        finally:
            server.kill()  # a graceful stop takes up to half a minute
            server.wait()
    raise RuntimeError(f"the S3 server did not start:\n{(folder / 'log').read_text()[-2000:]}")


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _serves(server: subprocess.Popen[bytes], env: dict[str, str]) -> bool:
    """Wait until the server takes an object; False if it ends before, or needs over a minute."""
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
    while server.poll() is None and time.monotonic() < deadline:
        try:
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            return True
    return False
