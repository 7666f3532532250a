"""A sweep whose store goes away or fills up, whose trials fail, whose question changes."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.analyses import catalog
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
from tests.faults.conftest import Drills
from tests.faults.drill import Drill, paced, standing, trained, trial
from tests.faults.nodes import Nodes
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

EVERY = 40
"""Steps between two checkpoints."""
FOUR = paced({"one": trial("one", 3 * EVERY, EVERY)}, replicates=4)


def test_a_head_gone_is_an_error_and_a_new_cluster_completes(drill: Drills) -> None:
    with Nodes(2, {}) as nodes:
        d = drill("head killed", FOUR, nodes)
        d.start()
        d.until(trained(EVERY + 10))
        d.hit(nodes.kill_head)
        assert d.end(120) == 2
        d.noticed()
        said = d.said().strip().splitlines()[-1]
        assert said.startswith("segprint: ")
        assert "the same command continues" in said
    d.wait_for_status(running=0)
    with Nodes(2, {}) as nodes:
        d.env = nodes.env
        d.complete()
        d.assert_whole({"final": 4}, redone=2 * EVERY)
        nodes.wait_until_free()


def test_a_store_away_for_a_minute(drill: Drills, remote: Store, proxy: Proxy) -> None:
    d = drill("store away 60 s", FOUR, store=remote)
    d.start()
    d.until(trained(EVERY + 10))
    d.hit(lambda: setattr(proxy, "dead", True))
    time.sleep(60)  # this is the drill, not a wait for something
    proxy.dead = False
    d.completes()
    d.assert_whole({"final": 4}, redone=0)
    assert d.failures() == {}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_waited_for(drill: Drills, disk: Path) -> None:
    d = drill("disk full", FOUR, store=Store(str(disk / "store")))
    d.start()
    d.until(trained(10))
    ballast = disk / "ballast"
    d.hit(lambda: fill(ballast))
    d.until(standing)  # at its next checkpoint, for which there is no room
    ballast.unlink()
    d.completes()
    d.assert_whole({"final": 4}, redone=0)
    assert d.failures() == {}


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as out:
        for size in (2**16, 2**10, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue


def test_what_always_fails_is_given_up_and_named_and_what_lacks_memory_is_split(
    drill: Drills,
) -> None:
    arms = {
        "good": trial("good", 20, 10),
        "raises": trial("raises", 20, 10, trouble="raises"),
        "dies": trial("dies", 20, 10, trouble="dies"),
        "short": trial("short", 20, 10, room=3),
    }
    d = drill("always fails; short of memory", paced(arms))
    for _ in range(2):  # the second time there is nothing left to try
        d.start()
        d.completes(code=1)
        assert d.status() == {"finished": 2, "given up": 2}
        assert sorted(d.failures().values()) == [1, 3, 3]
        steps = len(d.steps())
        for name in ("raises", "dies"):
            assert f"{name} final 0: failed, see `segprint " in d.said()
        assert "this model cannot be built" in reasons(d)["raises"]
        assert "the worker process died" in reasons(d)["dies"]
        assert "each batch in 2 times more parts" in reasons(d)["short"]
        assert len(d.steps()) == steps == 20 + 2 * 20
    d.assert_whole({"final": 4}, given_up=2)


def reasons(drill: Drill) -> dict[str, str]:
    """Why trials ended as they did, by arm."""
    arms = {x.digest: x.cell for x in drill.ledger.studies.current(drill.file.stem)}
    rows = Snapshot(drill.ledger.store).table("trials").to_pylist()
    return {arms[row["digest"]]: row["reason"] for row in rows}


def test_a_question_that_changes_between_runs(drill: Drills) -> None:
    first = paced({"a": trial("a", 10, 5), "b": trial("b", 10, 5)})
    d = drill("space changed, twice", first)
    d.complete()
    assert len(d.steps()) == 20

    more = paced({"a": trial("a", 10, 5), "c": trial("c", 10, 5)}, replicates=2)
    d.ask(more)
    d.hit(d.complete)
    assert len(d.steps()) == 20 + 30, "the second seed of a, both of c"
    assert counted(d) == {"a": 2, "c": 2}

    other = dataclasses.replace(more, config={**more.config, "train": {"batch": 2}})
    d.ask(other)
    d.hit(d.complete)
    assert len(d.steps()) == 20 + 30 + 40, "a default has changed: all is new"
    assert counted(d) == {"a": 2, "c": 2}, "the old rows are not averaged with the new"
    assert len(d.ledger.commits()) == 5 + 4
    d.assert_whole({"final": 4})


def counted(drill: Drill) -> dict[str, int]:
    """Trials behind each arm of the leaderboard."""
    cells = {x.digest: x.cell for x in drill.ledger.studies.current(drill.file.stem)}
    tables = catalog(drill.ledger, (drill.file.stem,))
    assert set(tables["leaderboard"].column("arm").to_pylist()) == set(cells.values())
    return dict(Counter(cells[x] for x in tables["trials"].column("digest").to_pylist()))
