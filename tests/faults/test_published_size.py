"""A network of published size: two workers, a checkpoint, a kill, and the rest as without it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.device_memory import available_memory
from orchestrator.planning.memory_estimate import memory_need
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Space
from tests.faults.drill import Drill, checkpoint_beside
from tests.faults.processes import assert_end, descendants
from tests.faults.test_checkpoint_drills import numbers
from trainables.checkpoint import Checkpoint
from trainables.config import parse

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(7200)]

ROOM = 20 * 2**30
"""Free memory without which this is skipped: two workers need 9 GiB each."""
IMPORTS = 0.5e9
"""Bytes of the imported libraries, which an estimate leaves out (docs/performance.md)."""
PATIENCE = 3000
CONFIG = {
    "task": {"synthetic": {"size": 256, "cases": 1, "radius": 40.0}},
    "model": "segdiff",
    "mode": {"diffusion": {"sampler": {"ddim": {"steps": 1}}}},
    "train": {"steps": 2, "batch": 2, "validate_every": 1, "precision": "bfloat16"},
    "test": {"pictures": 0},
    "probe": {"bins": 0},
}
SPACE = Space(
    question="Does a published network survive a kill?",
    config=CONFIG,
    arms={"segdiff": {}},
    replicates=1,
    workers=2,
)


def drill(folder: Path, name: str) -> Drill:
    folder.mkdir()
    return Drill(folder, SPACE, Ledger(Store(str(folder / "store"))), name)


def kill(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # it ended with another one
            os.kill(process, signal.SIGKILL)


def test_published_segdiff_is_killed_after_its_checkpoint_and_ends_as_without_a_kill(
    tmp_path: Path,
) -> None:
    if available_memory("cpu") < ROOM:
        pytest.skip(f"less than {ROOM >> 30} GiB of memory are free")
    killed = drill(tmp_path / "killed", "published SegDiff killed")
    killed.start()
    killed.until(checkpoint_beside(0), PATIENCE)
    started = [killed.driver.pid, *descendants(killed.driver.pid)]
    killed.hit(lambda: kill(started))  # as if the machine lost its power: workers end at once
    killed.end()
    killed.noticed()
    assert_end(started, 60)
    store = killed.ledger.store
    (key,) = store.list("checkpoints/")
    assert Checkpoint.read(io.BytesIO(store.get(key))).header["step"] == 1

    killed.start()
    assert killed.end(PATIENCE) == 0, killed.said()
    killed.assert_whole({"final": 1})
    straight = drill(tmp_path / "straight", "published SegDiff")
    straight.start()
    assert straight.end(PATIENCE) == 0, straight.said()
    assert numbers(store.url) == numbers(straight.ledger.store.url)

    need = memory_need(parse(CONFIG), 2, "cpu")
    assert need is not None
    for url in (store.url, straight.ledger.store.url):
        (row,) = Snapshot(Store(url)).table("trials").to_pylist()
        assert row["world_size"] == 2
        assert row["parameters"] > 100_000_000
        print(f"{row['peak_host_bytes'] / 2**30:.2f} GiB measured, {need.most / 2**30:.2f} planned")
        assert (row["peak_host_bytes"] - IMPORTS) / need.most == pytest.approx(1, abs=0.15)
