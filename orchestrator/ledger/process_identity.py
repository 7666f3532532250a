"""Identity of a process, so that other processes of the same machine can see whether it lives."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
HIDDEN = "hidden"
"""The start of a process of another user, where /proc hides those."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, its start and its machine: a process number that is used again differs."""

    host: str
    """The host name, for messages; it need not be unique."""
    machine: str | None
    """This boot of this machine and its process namespace; None where that is unknown."""
    pid: int
    born: str | None
    """When the process started, in ticks since the boot."""

    @staticmethod
    def current() -> ProcessIdentity:
        """Return the identity of the calling process."""
        pid = os.getpid()
        return ProcessIdentity(socket.gethostname(), _machine(), pid, _born(pid))

    @staticmethod
    def parse(content: Mapping[str, Any]) -> ProcessIdentity:
        """Read an identity from the fields of a stored JSON object; absent ones are unknown.

        Raises:
            ValueError, TypeError: the process number is not a number.
        """
        machine, born = content.get("machine"), content.get("born")
        return ProcessIdentity(
            str(content.get("host", "")), machine, int(content.get("pid", 0)), born
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields as they are stored."""
        return asdict(self)

    def dead(self) -> bool:
        """Whether the process is known to be dead, which only its own machine can know.

        >>> import dataclasses
        >>> me = ProcessIdentity.current()
        >>> me.dead(), dataclasses.replace(me, born="0").dead()
        (False, True)
        >>> dataclasses.replace(me, machine="another").dead()
        False
        """
        return self._is_here() and self._lives() is False

    def alive(self) -> bool:
        """Whether the process is known to live, which only its own machine can know.

        >>> import dataclasses
        >>> me = ProcessIdentity.current()
        >>> me.alive(), dataclasses.replace(me, born="0").alive()
        (True, False)
        >>> dataclasses.replace(me, machine="another").alive()
        False
        """
        return self._is_here() and self._lives() is True

    def _is_here(self) -> bool:
        return self.born is not None and self.machine is not None and self.machine == _machine()

    def _lives(self) -> bool | None:
        born = _born(self.pid)
        return None if born == HIDDEN else born == self.born


@functools.cache
def _machine() -> str | None:
    """Return a name of this boot and of this process namespace; None where /proc is missing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _born(pid: int) -> str | None:
    """Return when a process started; None if it does not exist, or is a zombie."""
    try:
        fields = (PROC / f"{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return HIDDEN if _is_of_another_user(pid) else None
    return None if fields[0] in "ZX" else fields[19]


def _is_of_another_user(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False
