"""Watches over a round: trials that fall silent, nodes about to go, too small a cluster."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.experiment import Trial

from orchestrator.planning.resources import fewest
from orchestrator.sweep import timeouts

if TYPE_CHECKING:
    from orchestrator.sweep.round import Round

LOOK_SECONDS = 2.0
"""Between two looks."""


class StarvedError(ValueError):
    """The cluster has not had what a trial needs for a long time."""


@dataclass
class Watchdog:
    """Looks at all trials every few seconds, from Tune's own loop."""

    run: Round
    wait: float = timeouts.WAIT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _heard: dict[str, float] = field(default_factory=dict[str, float])
    _looked: float = 0.0
    _ran: float | None = None
    _leaving: frozenset[str] = frozenset()

    def heard(self, tune_id: str) -> None:
        """A trial has started, or reported."""
        self._heard[tune_id] = self.clock()

    def look(self, trials: list[Trial]) -> None:
        """See to what needs it.

        Raises:
            StarvedError: no trial could start for too long.
            LostError: the study is another driver's by now.
        """
        now = self.clock()
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        self.run.crew.claim.check()
        running = [t for t in trials if t.status == Trial.RUNNING]
        self._end_silent(running, now)
        self._warn_of_leaving_nodes(running)
        if running or self._ran is None:
            self._ran = now
        elif now > self._ran + self.wait and self._fits():  # others use it
            self.run.screen.note("waiting: others use the cluster")
            self._ran = now
        elif now > self._ran + self.wait:
            has = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU")}
            raise StarvedError(
                f"no trial could start for {self.wait:.0f} s: each needs {self.run.needs},"
                f" the cluster has {has or 'nothing'}; the same command continues"
            )

    def _fits(self) -> bool:
        """Whether a trial would have room on the nodes that there are, if nobody else used them."""
        one = dataclasses.replace(self.run.needs, workers=1)
        places = sum(one.slots(node["Resources"]) for node in ray.nodes() if node["Alive"])
        return places >= fewest(self.run.needs.workers)

    def _end_silent(self, running: list[Trial], now: float) -> None:
        """Kill what hangs: neither its driver nor its lease has heard of it for too long."""
        for trial in running:
            handed = self.run.handed.get(trial.trial_id)
            silent = now - self._heard.get(trial.trial_id, now)
            if handed is None or silent < self.run.crew.silence:
                continue
            age = self.run.ledger.leases.age(handed.trial.digest)
            if age is not None and age < self.run.crew.silence:
                self._heard[trial.trial_id] = now - age
                continue
            limit = self.run.crew.silence
            if age is None:  # its workers are still being started
                limit = max(limit, timeouts.STARTING_SECONDS)
            if silent < limit:
                continue
            handed.killed = f"no sign of life for {limit:.0f} s: killed"
            self.heard(trial.trial_id)
            actor: Any = trial.temporary_state.ray_actor
            ray.kill(actor)

    def _warn_of_leaving_nodes(self, running: list[Trial]) -> None:
        """Have trials keep a checkpoint before a node that is taken back is gone.

        Trials of several workers cannot: they are in step, and keep one at every validation.
        """
        # What Ray Train's own watcher of preemptions asks; there is no public way yet.
        leaving = frozenset(ray._private.state.state.get_draining_nodes() or {})  # pyright: ignore
        if leaving - self._leaving:
            self.run.screen.note(f"{len(leaving)} nodes are about to go: trials keep a checkpoint")
            for trial in running if self.run.needs.workers == 1 else []:
                actor: Any = trial.temporary_state.ray_actor
                actor.keep.remote()
        self._leaving = leaving
