"""Signs of life: a process elsewhere is alive while what it writes changes.

Clocks of two machines may differ by minutes. So nobody compares its clock with a time that another
machine wrote: it waits, and measures on its own clock for how long the text stays the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

LONGEST_GAP = 10.0
"""The longest time between two looks that counts as watched, in seconds: the process may have been
suspended in between, or the store unreachable."""


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
    looked: float | None = None
    """The time of the last look."""
    seconds: float = 0.0

    def unchanged(self, value: object) -> float:
        """Note what is seen now; return for how many seconds it was watched and the same."""
        before, self.looked = self.looked, now()
        if before is None or value != self.value:
            self.value, self.seconds = value, 0.0
        else:
            self.seconds += min(self.looked - before, LONGEST_GAP)
        return self.seconds
