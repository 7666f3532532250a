"""What drills measured, and the table that their process ends with."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Numbers:
    """What a drill measured; seconds, trials' rows, and steps of one worker."""

    drill: str
    seconds: float = 0.0
    noticed: float | None = None
    """From the strike until the sweep said so, or ended."""
    completed: float | None = None
    """From the last strike until the study was complete."""
    lost: int = 0
    doubled: int = 0
    redone: int | None = None


TABLE: list[Numbers] = []
"""Of all drills of this process, printed at its end."""


def printed(table: list[Numbers]) -> str:
    """The table for people."""
    rows = [[f"{k}" for k in asdict(Numbers(""))]]
    rows += [
        ["-" if v is None else f"{v:.1f}" if isinstance(v, float) else str(v) for v in row]
        for row in (asdict(numbers).values() for numbers in table)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
