"""Signs of life: a process elsewhere is alive while what it writes changes.

Clocks of two machines may differ by minutes. So nobody compares its clock with a time that another
machine wrote: it waits, and measures on its own clock for how long the text stays the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


def now() -> float:
    """Return seconds on this machine's steady clock, which also runs while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def pause(seconds: float) -> None:
    """Wait before the next look."""
    time.sleep(seconds)


@dataclass
class SignOfLife:
    """The last sign of life that was seen of another process."""

    value: object = None
    since: float | None = None
    """When this value was seen first; None before the first look."""

    def unchanged(self, value: object) -> float:
        """Note what is seen now; return for how many seconds it has been the same."""
        if self.since is None or value != self.value:
            self.value, self.since = value, now()
        return now() - self.since
