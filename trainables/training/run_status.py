"""The state that a running attempt reports with its heartbeat: a few hundred bytes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # it imports torch, which readers of a store do without
    from trainables.rows import Environment
    from trainables.training.loop import Progress

SPEED_SECONDS = 600.0
"""The speed is the mean over the last steps within so many seconds, validations included."""
CURVE_POINTS = 60
"""Validations that the reported curve has at most."""


@dataclass(frozen=True)
class RunStatus:
    """How far a run is, on which device, and how fast."""

    step: int = 0
    steps: int | None = None
    """None until the data are prepared."""
    steps_per_second: float | None = None
    """Validations are counted in; None until it is measured."""
    device: str = ""
    host: str = ""
    workers: int = 1
    curve: tuple[tuple[int, float], ...] = ()
    """Step and score of validations, the latest last; thinned if there are many."""

    @property
    def score(self) -> float | None:
        """The score of the last validation."""
        return self.curve[-1][1] if self.curve else None

    @property
    def training_left(self) -> float | None:
        """Estimated seconds until all steps are made; None while it is not known."""
        if self.steps is None or not self.steps_per_second:
            return None
        return max(0, self.steps - self.step) / self.steps_per_second

    @property
    def phase(self) -> str:
        """``preparing`` the data and the network, ``training``, or ``testing``."""
        if self.steps is None:
            return "preparing"
        return "training" if self.step < self.steps else "testing"

    def plain(self) -> dict[str, Any]:
        """Return the fields as they are stored."""
        return asdict(self)

    @staticmethod
    def parse(content: object) -> RunStatus | None:
        """Read the stored fields; None if they are damaged."""
        if not isinstance(content, Mapping):
            return None
        given = cast("Mapping[str, Any]", content)
        try:
            steps, speed = given["steps"], given["steps_per_second"]
            status = RunStatus(
                step=int(given["step"]),
                steps=None if steps is None else int(steps),
                steps_per_second=None if speed is None else float(speed),
                device=str(given["device"]),
                host=str(given["host"]),
                workers=int(given["workers"]),
                curve=tuple((int(s), float(y)) for s, y in given["curve"][-CURVE_POINTS:]),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        numbers = [status.steps_per_second or 0.0, *(score for _, score in status.curve)]
        return status if all(map(math.isfinite, numbers)) else None


@dataclass
class StatusMeter:
    """Keeps the status of a run up to date from its reports of progress."""

    clock: Callable[[], float] = time.monotonic
    status: RunStatus = field(default_factory=RunStatus)
    _reports: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    """Time and step of the reports within the last :data:`SPEED_SECONDS`."""

    def begin(self, environment: Environment) -> None:
        """Note where the run takes place."""
        self.status = RunStatus(
            device=environment.get("device") or "",
            host=environment.get("host") or "",
            workers=environment.get("world_size") or 1,
        )

    def update(self, progress: Progress) -> None:
        """Note how far the run is."""
        now = self.clock()
        while self._reports and now - self._reports[0][0] > SPEED_SECONDS:
            self._reports.popleft()
        self._reports.append((now, progress.step))
        began, step = self._reports[0]
        speed = (progress.step - step) / (now - began) if now > began else 0.0
        scores = [(r["step"], r["score_sum"] / r["score_count"]) for r in progress.history]
        self.status = RunStatus(
            step=progress.step,
            steps=progress.steps,
            steps_per_second=speed or self.status.steps_per_second,
            device=self.status.device,
            host=self.status.host,
            workers=self.status.workers,
            curve=thinned(scores),
        )


def thinned(points: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Return at most :data:`CURVE_POINTS` points at equal distances, the last one included.

    >>> len(thinned([(i, 0.5) for i in range(1000)])), thinned([(i, 0.5) for i in range(1000)])[-1]
    (59, (999, 0.5))
    """
    stride = -(-len(points) // CURVE_POINTS) or 1
    return tuple(points[::-1][::stride][::-1])
