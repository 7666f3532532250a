"""Trials of one and of two workers in one round, on nodes that come and go."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from orchestrator.tables.snapshot import Snapshot
from search_spaces import LogUniform, Search
from tests.faults.conftest import Drills
from tests.faults.drill import paced, trained, trial
from tests.faults.nodes import Nodes
from trainables.config import parse
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import train

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

EVERY = 40


def test_trials_of_one_and_of_two_workers_share_three_nodes_and_one_is_killed(
    nodes: Nodes, drill: Drills
) -> None:
    nodes.restore(3)
    searched = trial("searched", 2 * EVERY, EVERY) | {"train.learning_rate": LogUniform(1e-4, 1e-3)}
    arms = {
        "twin": trial("twin", 2 * EVERY, EVERY),
        "blind": trial("blind", 2 * EVERY, EVERY) | {"mode": "image_only"},
        "alone": trial("alone", 4 * EVERY, EVERY),
        "searched": searched,
    }
    space = paced(
        arms,
        replicates=2,
        workers={"twin": 2, "blind": 2},
        search=Search(2, {"train.steps": EVERY}, workers=2),
    )
    d = drill("sizes mixed, raylet killed", space, nodes)
    d.start()
    d.until(trained(10, "twin", processes=2))
    d.hit(lambda: nodes.kill(nodes.under(d.last("twin"))))
    d.noticed("its node went away; it will be resumed")
    nodes.add()
    d.completes()
    d.assert_whole({"search": 2, "final": 8})
    assert d.failures() == {}

    rows = Snapshot(d.ledger.store).table("trials").to_pylist()
    stages = {t.digest: t.stage for t in d.ledger.studies.current(d.file.stem)}
    arm_of = {row["digest"]: json.loads(row["config"])["model"] for row in rows}
    worlds = Counter[tuple[str, str, int]]()
    for row in rows:
        (fields,) = arm_of[row["digest"]].values()
        worlds[fields["trial"], stages[row["digest"]], row["world_size"]] += 1
    assert worlds == {
        ("twin", "final", 2): 2,
        ("blind", "final", 2): 2,
        ("alone", "final", 1): 2,
        ("searched", "search", 2): 2,
        ("searched", "final", 1): 2,
    }

    steps = Snapshot(d.ledger.store).table("steps").to_pylist()
    for row in rows:
        *_, last = train(parse(json.loads(row["config"])), WorkerContext())
        theirs = sorted((r for r in steps if r["digest"] == row["digest"]), key=lambda r: r["step"])
        assert [r["step"] for r in theirs] == [r["step"] for r in last.history]
        for name in ("loss_sum", "score_sum"):
            found, expected = ([r[name] for r in rows] for rows in (theirs, last.history))
            assert found == pytest.approx(expected, rel=2e-4)


def test_two_workers_keep_a_checkpoint_when_a_node_is_taken_back_with_notice(
    nodes: Nodes, drill: Drills
) -> None:
    arms = {"two": trial("two", 120, 100, seconds=0.1)}
    d = drill("node drained, two workers", paced(arms, workers=2), nodes)
    d.start()
    d.until(trained(15, processes=2))
    number = nodes.under(d.last())
    d.hit(lambda: nodes.drain(number, 60))
    d.until(lambda d: len(d.ledger.store.list("checkpoints/")) == 1)
    nodes.kill(number)
    nodes.add()
    d.completes()
    # Without a checkpoint kept on the notice, all steps would be lost.
    d.assert_whole({"final": 1}, redone=60, workers=2)
    assert d.failures() == {}


def test_an_elastic_trial_goes_on_with_the_node_that_is_left(nodes: Nodes, drill: Drills) -> None:
    d = drill(
        "raylet killed, elastic", paced({"e": trial("e", 4 * EVERY, EVERY)}, workers=(1, 2)), nodes
    )
    d.start()
    d.until(trained(EVERY + 10, processes=2))
    d.hit(lambda: nodes.kill(nodes.under(d.last())))
    d.completes()
    d.assert_whole({"final": 1}, redone=EVERY + 10)
    assert d.failures() == {}
    (row,) = Snapshot(d.ledger.store).table("trials").to_pylist()
    assert row["world_size"] == 1


def test_two_workers_split_their_batch_for_memory(nodes: Nodes, drill: Drills) -> None:
    """A worker has two of the four cases of a batch, and memory for one."""
    space = paced({"two": trial("two", EVERY, 20, room=1)}, workers=2)
    d = drill("two workers: memory", space, nodes)
    d.complete()
    (row,) = Snapshot(d.ledger.store).table("trials").to_pylist()
    assert (row["outcome"], row["world_size"]) == ("finished", 2)
    assert d.failures() == {row["digest"]: 1}


def test_two_workers_stop_at_a_rung(nodes: Nodes, drill: Drills) -> None:
    arm = trial("two", 10 * EVERY, EVERY) | {"train.learning_rate": LogUniform(1e-6, 1.0)}
    search = Search(4, {"train.steps": 6 * EVERY}, rungs=(EVERY,))
    d = drill("two workers: rung", paced({"two": arm}, workers=2, search=search), nodes)
    d.complete()
    rows = Snapshot(d.ledger.store).table("trials").to_pylist()
    assert {row["world_size"] for row in rows} == {2}
    outcomes = Counter(row["outcome"] for row in rows)
    assert outcomes == {"finished": len(rows) - outcomes["pruned"], "pruned": outcomes["pruned"]}
    assert outcomes["pruned"] >= 1
    assert {row["steps"] for row in rows if row["outcome"] == "pruned"} == {EVERY}
    d.assert_whole({"search": 4, "final": 1})
