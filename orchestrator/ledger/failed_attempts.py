"""Failed attempts: their reasons, and whether a retry needs smaller parts of a batch."""

from __future__ import annotations

MEMORY_WORDS = ("OutOfMemoryError", "MemoryError", "can't allocate memory", "memory pressure")


def out_of_memory(reason: str | None) -> bool:
    """Whether a trial failed for want of memory, so that smaller parts of a batch may fit.

    >>> out_of_memory("OutOfMemoryError: CUDA out of memory (step, line 9)")
    True
    >>> out_of_memory("ValueError: no such mask"), out_of_memory(None)
    (False, False)
    """
    return reason is not None and any(word in reason for word in MEMORY_WORDS)
