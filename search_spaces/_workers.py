"""The number of workers of a trial, as a space states it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Workers = int | tuple[int, int]
"""The number of workers of a trial, or its minimum and maximum where nodes come and go."""


def fewest(workers: Workers) -> int:
    """Return the minimum number of workers.

    >>> fewest(2), fewest((1, 4))
    (2, 1)
    """
    return workers if isinstance(workers, int) else workers[0]


def most(workers: Workers) -> int:
    """Return the maximum number of workers."""
    return workers if isinstance(workers, int) else workers[1]


def check_workers(where: str, workers: Any) -> None:
    """Refuse what is neither a number of at least 1 nor a rising pair of such numbers."""
    pair = cast("tuple[Any, ...]", workers) if isinstance(workers, tuple) else (workers, workers)
    whole = len(pair) == 2 and all(type(n) is int for n in pair)
    if not whole or not 1 <= pair[0] <= pair[1]:
        raise ValueError(f"{where}={workers!r} must be at least 1, or (fewest, most)")


def check_workers_by_arm(
    workers: Workers | Mapping[str, Workers], search: Workers | None, arms: Mapping[str, Any]
) -> None:
    """Check the workers of a space, which may be given by arm, and those of its search."""
    if search is not None:
        check_workers("Search: workers", search)
    if not isinstance(workers, Mapping):
        check_workers("Space: workers", workers)
        return
    for arm, each in workers.items():
        if arm not in arms:
            choices = ", ".join(arms)
            raise ValueError(f"Space: workers name the unknown arm {arm!r} (choices: {choices})")
        check_workers(f"Space: workers[{arm!r}]", each)
