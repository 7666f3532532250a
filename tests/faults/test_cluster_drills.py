"""A lasting cluster that loses workers, drivers and nodes: the study is completed, once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from search_spaces import LogUniform, Search, Space
from tests.faults.conftest import Drills
from tests.faults.drill import once, paced, trained, trial
from tests.faults.nodes import Nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

EVERY = 40
"""Steps between two checkpoints."""
ALONE = paced({"one": trial("one", 3 * EVERY, EVERY)}, replicates=2)
SLOW = paced({"one": trial("one", 120, 100, seconds=0.1)}, replicates=2)
"""An interval takes longer than a run goes on without a word: what is told it comes in between."""
SILENCE = ("--silence", "30")
DEFAULTS = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
}
"""Ray's own settings of the check of its nodes."""


def shared(steps: int = 3 * EVERY, search: int = 2) -> Space:
    """A searched trial of one worker, then one of two workers."""
    arm = trial("two", steps, EVERY) | {"train.learning_rate": LogUniform(1e-4, 1e-3)}
    other = {"train.steps": search, "model": trial("search", 0, 1)["model"]}
    return paced({"two": arm}, workers=2, search=Search(1, other))


def killer(pid: int, sig: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    return lambda: os.kill(pid, sig)


def test_the_process_of_a_trial_killed(nodes: Nodes, drill: Drills) -> None:
    d = drill("trial's process killed", ALONE, nodes)
    d.start()
    d.until(trained(EVERY + 10))
    d.hit(killer(d.last()))
    d.noticed("the worker process died")
    d.completes()
    d.assert_whole({"final": 2}, redone=EVERY)
    assert sum(d.failures().values()) == 1


def test_one_of_two_workers_killed(nodes: Nodes, drill: Drills) -> None:
    d = drill("one of two workers killed", shared(), nodes)
    d.start()
    d.until(trained(EVERY + 10, "two", processes=2))
    d.hit(killer(d.last("two")))
    d.noticed("the worker process died")
    d.completes()
    d.assert_whole({"search": 1, "final": 1}, redone=EVERY, workers=2)


def test_the_driver_killed_while_trials_train_and_while_workers_start(
    nodes: Nodes, drill: Drills
) -> None:
    d = drill("driver killed, twice", shared(search=2 * EVERY), nodes)
    d.strike(trained(EVERY + 10), signal.SIGKILL)
    d.wait_for_status(running=0)
    # The search is over, and Ray Train has begun: its group of workers is there, no step yet.
    d.strike(lambda d: bool(d.ledger.commits()) and len(nodes.held()["groups"]) > 1, signal.SIGKILL)
    d.wait_for_status(running=0)
    d.complete()
    d.assert_whole({"search": 1, "final": 1}, redone=EVERY)


def test_a_node_gone_with_trials_of_one_worker(nodes: Nodes, drill: Drills) -> None:
    d = drill("raylet killed, one worker", ALONE, nodes)
    d.start()
    d.until(trained(EVERY + 10))
    d.hit(lambda: nodes.kill(nodes.under(d.last())))
    d.noticed("its node went away; it will be resumed")
    nodes.add()
    d.completes()
    d.assert_whole({"final": 2}, redone=EVERY)
    assert d.failures() == {}


def test_a_raylet_killed_is_a_lost_node_before_ray_knows_it(drill: Drills) -> None:
    """With Ray's own settings, the end of a worker is noticed long before that of its node."""
    space = paced({"one": trial("one", 300, 100, seconds=0.1)}, replicates=2)
    with Nodes(2, DEFAULTS) as nodes:
        d = drill("raylet and worker killed, Ray's own settings", space, nodes)
        d.start()
        d.until(trained(15))
        worker = d.last()
        nodes.kill(nodes.under(worker))
        os.kill(worker, signal.SIGKILL)  # it ends with its raylet, at once or a little later
        d.until(lambda d: "its node went away; it will be resumed" in d.said())
        nodes.add()
        d.completes()
        d.assert_whole({"final": 2})
        assert d.failures() == {}
        assert "[state-dump]" not in d.log.read_text()


def test_a_node_gone_with_a_trial_of_two_workers(nodes: Nodes, drill: Drills) -> None:
    d = drill("raylet killed, two workers", shared(), nodes)
    d.start()
    d.until(trained(EVERY + 10, "two", processes=2))
    d.hit(lambda: nodes.kill(nodes.under(d.last("two"))))
    d.noticed("its node went away; it will be resumed")
    nodes.add()
    d.completes()
    d.assert_whole({"search": 1, "final": 1}, redone=EVERY, workers=2)
    assert d.failures() == {}


def test_a_node_taken_back_with_notice(nodes: Nodes, drill: Drills) -> None:
    d = drill("node drained, then gone", SLOW, nodes)
    d.start()
    d.until(trained(15, processes=2))
    struck = d.last()
    number = nodes.under(struck)
    d.hit(lambda: nodes.drain(number, 60))
    d.noticed("trials keep a checkpoint")
    d.until(lambda d: len(d.ledger.store.list("checkpoints/")) == 2)
    nodes.kill(number)
    nodes.add()
    d.completes()
    # Without a checkpoint kept on the notice, 65 steps or more would be lost.
    d.assert_whole({"final": 2}, redone=60)
    assert d.failures() == {}


def test_trials_that_hang(nodes: Nodes, drill: Drills) -> None:
    d = drill("hangs: one worker, then two", shared(search=2 * EVERY), nodes, options=SILENCE)
    d.start()
    d.until(trained(EVERY + 10))
    d.hit(killer(d.last(), signal.SIGSTOP))
    d.noticed("search 0: failed", "no sign of life for 30 s: killed")
    d.until(trained(EVERY + 10, "two", processes=2))
    d.hit(killer(d.last("two"), signal.SIGSTOP))
    d.noticed("final 0: failed")
    d.completes()
    # An interval of the trial of one worker, and one of each of the two workers of the other.
    d.assert_whole({"search": 1, "final": 1}, redone=3 * EVERY)


def test_a_sweep_told_to_stop_does_so_in_good_order(nodes: Nodes, drill: Drills) -> None:
    d = drill("SIGTERM, SIGINT, in good order", SLOW, nodes)
    for sig in (signal.SIGTERM, signal.SIGINT):
        d.strike(trained(15), sig)
        assert d.driver.returncode == 130
        assert "stopping: trials keep a checkpoint" in d.said()
        assert "the same command continues" in d.said()
        d.wait_for_status(running=0)
    d.complete()
    d.assert_whole({"final": 2}, redone=0)


def test_a_second_signal_ends_at_once(nodes: Nodes, drill: Drills) -> None:
    d = drill("SIGINT twice", paced({"one": trial("one", 30, 25, seconds=0.3)}), nodes)
    d.start()
    d.until(trained(2))
    d.hit(killer(d.driver.pid, signal.SIGINT))
    d.until(once("once more, and it ends at once"))
    os.kill(d.driver.pid, signal.SIGINT)
    assert d.end() == 130
    d.noticed()
    d.complete()
    d.assert_whole({"final": 1}, redone=25)


def test_two_drivers_of_one_study(nodes: Nodes, drill: Drills) -> None:
    long = paced({"one": trial("one", 6 * EVERY, EVERY, seconds=0.05)}, replicates=2)
    d = drill("two drivers, the first killed", long, nodes)
    first = d.start()
    d.until(once("trials to run"))
    second = d.start()
    d.until(once(f"process {first.pid} on", "drives this study; waiting"))
    d.until(trained(EVERY + 10))
    d.hit(first.kill)
    d.until(once("trials to run"))
    d.noticed()
    third = d.start()  # nobody is struck any more: it waits, and has nothing to do
    d.completes()
    assert second.wait(60) == third.returncode == 0
    d.assert_whole({"final": 2}, redone=2 * EVERY)
