"""Ray's head, watched from the driver: where it is gone, Ray would end the process without a word.

Ray waits ``RAY_gcs_rpc_server_reconnect_timeout_s`` (60) seconds for its head to come back, and
then leaves from C++ code, which no exception handler sees.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

LOOK_SECONDS = 1.0
"""Between two looks."""
RAYS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"


@contextmanager
def watched(address: str) -> Generator[None]:
    """End this process with one line, and exit code 2, where nobody listens there for long."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=[address, ended], name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _watch(address: str, ended: threading.Event) -> None:
    host, _, port = address.rpartition(":")
    patience = float(os.environ.get(RAYS_PATIENCE, "60")) / 2
    seen = time.monotonic()
    while not ended.wait(LOOK_SECONDS):
        try:
            socket.create_connection((host, int(port)), timeout=patience).close()
            seen = time.monotonic()
        except OSError as error:
            if time.monotonic() > seen + patience and not ended.is_set():
                print(
                    f"segprint: the head of the Ray cluster at {address} is gone ({error});"
                    " nothing committed is lost, the same command continues",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(2)
