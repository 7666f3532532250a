"""The watchdog of a round: silent trials, nodes that are about to leave, and lack of resources."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.experiment import Trial

from cluster import alive_nodes
from orchestrator.formatting import plural
from orchestrator.sweep import timeouts
from search_spaces._workers import fewest
from trainables.worker import leaving_nodes

if TYPE_CHECKING:
    from orchestrator.sweep.round import Round

LOOK_SECONDS = 2.0
"""The watchdog checks this often."""


class StarvedError(ValueError):
    """The cluster has lacked the resources of a trial for too long."""


@dataclass
class Watchdog:
    """Checks all running trials every few seconds, from Tune's own loop."""

    run: Round
    wait: float = timeouts.WAIT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _active_at: dict[str, float] = field(default_factory=dict[str, float])
    _leases: dict[str, float] = field(default_factory=dict[str, float])
    """The time in the lease of a trial when it was seen last, on the clock of its worker."""
    _checked: float = 0.0
    _last_running: float | None = None
    """When a trial ran last."""
    _leaving: frozenset[str] = frozenset()

    def note_activity(self, tune_id: str) -> None:
        """Note that a trial has started or reported."""
        self._active_at[tune_id] = self.clock()

    def check(self, trials: list[Trial]) -> None:
        """Check the lock, the running trials and the cluster, unless that was done just before.

        Raises:
            StarvedError: no trial could start for too long.
            LostError: another driver has taken over the study.
        """
        now = self.clock()
        if now < self._checked + LOOK_SECONDS:
            return
        self._checked = now
        self.run.context.lock.check()
        running = [t for t in trials if _status(t) == Trial.RUNNING]
        self._kill_silent(running, now)
        self._warn_of_leaving_nodes(running)
        if running or self._last_running is None:
            self._last_running = now
        elif now > self._last_running + self.wait:
            self._without_resources(now)

    def _without_resources(self, now: float) -> None:
        """Continue to wait if others use the cluster; else end the sweep."""
        request = self.run.least_request()
        if request.worker_slots(n.resources for n in alive_nodes()) >= fewest(request.workers):
            self.run.display.note("waiting: others use the cluster")
            self._last_running = now
            return
        offered = {k: v for k, v in _cluster_resources().items() if k in ("CPU", "GPU")}
        raise StarvedError(
            f"no trial could start for {self.wait:.0f} s: each needs {request},"
            f" the cluster has {offered or 'nothing'}; the same command continues"
        )

    def _kill_silent(self, trials: list[Trial], now: float) -> None:
        """Kill trials that hang: for long they reported nothing and their lease did not change."""
        for trial in trials:
            running = self.run.running.get(trial.trial_id)
            silent = now - self._active_at.get(trial.trial_id, now)
            if running is None or silent < self.run.context.silence / 2:
                continue
            lease = self.run.ledger.leases.held(running.trial.digest)
            if lease is not None:
                before = self._leases.get(trial.trial_id)
                self._leases[trial.trial_id] = lease.at
                if before != lease.at:
                    known = 0.0 if before is not None else self.run.context.silence / 2
                    self._active_at[trial.trial_id] = now - known
                    continue
            limit = self.run.context.silence
            if lease is None:  # its workers are still being started
                limit = max(limit, timeouts.STARTING_SECONDS)
            if silent < limit:
                continue
            running.killed = f"no sign of life for {limit:.0f} s: killed"
            self.note_activity(trial.trial_id)
            _kill(trial)

    def _warn_of_leaving_nodes(self, running: list[Trial]) -> None:
        """Let trials keep a checkpoint before a node is taken back.

        Trials with several workers notice it themselves.
        """
        leaving = leaving_nodes()
        if leaving - self._leaving:
            self.run.display.note(
                f"{plural(len(leaving), 'node')} about to leave: trials keep a checkpoint"
            )
            for trial in running:
                known = self.run.running.get(trial.trial_id)
                if known is not None and known.trial.workers == 1:
                    _actor(trial).keep.remote()
        self._leaving = leaving


# Small typed functions for the parts of Ray and Tune that have no annotations.

_RAY: Any = ray


def _cluster_resources() -> Mapping[str, float]:
    """Return the resources of all nodes together."""
    return _RAY.cluster_resources()


def _status(trial: Any) -> str:
    """Return Tune's status of a trial."""
    return trial.status


def _actor(trial: Any) -> Any:
    """Return the actor handle of a running trial."""
    return trial.temporary_state.ray_actor


def _kill(trial: Trial) -> None:
    """Kill the process of a running trial."""
    _RAY.kill(_actor(trial))
