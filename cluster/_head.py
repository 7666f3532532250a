"""Watches Ray's head from the driver, and ends the process with a message if the head is lost.

Without this, Ray would wait ``RAY_gcs_rpc_server_reconnect_timeout_s`` (60) seconds for its head
and then exit from C++ code, without a message and past all exception handlers.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

CHECK_SECONDS = 1.0
"""The time between two checks."""
RAY_TIMEOUT = "RAY_gcs_rpc_server_reconnect_timeout_s"


@contextmanager
def watched(
    address: str,
    patience: float | None = None,
    dead_processes: Callable[[], Sequence[str]] = tuple,
) -> Generator[None]:
    """End the process with one line and exit code 2 if the head stops listening at HOST:PORT.

    ``patience`` is the number of seconds for which it may be away; None stands for half the time
    after which Ray exits. If ``dead_processes`` returns any, the process ends at once.
    """
    ended = threading.Event()
    if patience is None:
        patience = float(os.environ.get(RAY_TIMEOUT, "60")) / 2
    arguments = (address, patience, dead_processes, ended)
    thread = threading.Thread(target=_watch, args=arguments, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _watch(
    address: str,
    patience: float,
    dead_processes: Callable[[], Sequence[str]],
    ended: threading.Event,
) -> None:
    host, _, port = address.rpartition(":")
    seen = time.monotonic()
    while not ended.wait(CHECK_SECONDS):
        dead = dead_processes()
        if dead and not ended.is_set():
            _end(f"Ray's process {dead[0]} on this machine has died")
        try:
            socket.create_connection((host, int(port)), timeout=patience).close()
            seen = time.monotonic()
        except OSError as error:
            if time.monotonic() > seen + patience and not ended.is_set():
                _end(f"the head of the Ray cluster at {address} does not answer ({error})")


def _end(reason: str) -> None:
    print(
        f"segprint: {reason}; committed trials are safe, and the same command continues",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)
