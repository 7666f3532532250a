"""Which process did something, so that others can tell whether it still lives."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def myself() -> dict[str, Any]:
    """The calling process: its host for people, and what tells it from every other one."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "born": _born(pid)}


def dead(process: Mapping[str, Any]) -> bool:
    """Whether a process is known to be dead: only one of this machine, by what it said of itself.

    >>> dead(myself()), dead({**myself(), "born": "0"}), dead({**myself(), "machine": "another"})
    (False, True, False)
    """
    return _here(process) and not _lives(process)


def alive(process: Mapping[str, Any]) -> bool:
    """Whether a process is known to live: only one of this machine.

    >>> alive(myself()), alive({**myself(), "born": "0"}), alive({**myself(), "machine": "another"})
    (True, False, False)
    """
    return _here(process) and _lives(process)


def _here(process: Mapping[str, Any]) -> bool:
    return process.get("born") is not None and process.get("machine") == _machine() is not None


def _lives(process: Mapping[str, Any]) -> bool:
    return _born(int(process["pid"])) == process["born"]


@functools.cache
def _machine() -> str | None:
    """Names this boot of this machine, and whose process numbers these are; None if nothing can."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _born(pid: int) -> str | None:
    """When a process started, so that a number that is used again is another process.

    None if there is none (or only its remains, not reaped yet).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
