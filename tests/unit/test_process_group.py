"""Workers that wait for one that hangs: one line says who waited, how long, and for whom."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from orchestrator.sweep import timeouts
from trainables.runtime.process_group import PeerTimeoutError, grace_of, lost_peer, process_group

SECONDS = 3.0


def worker(rank: int, world: int, port: int, folder: str) -> None:
    """Sum numbers with the others until one of them does not answer."""
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, world, is_master=rank == 0)
    place = Path(folder)
    try:
        with process_group(store, rank, world, "cpu", SECONDS):
            for i in range(10**9):
                dist.all_reduce(torch.ones(1))
                if i == 100:
                    (place / f"running{rank}").touch()
    except RuntimeError as error:
        (place / f"new{rank}").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        (place / f"new{rank}").rename(place / f"error{rank}")
        signal.pause()  # until it is killed, so that rank 0 still serves the store


def wait_for(paths: list[Path], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until, [path.name for path in paths if not path.exists()]
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("world", "stopped"),
    [(2, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(3, 2), (2, 0)])],
)
def test_one_line_names_the_worker_that_hangs(world: int, stopped: int, tmp_path: Path) -> None:
    """Rank 0 serves the store of the group: its silence is noticed without the store."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    group: Any = multiprocessing.spawn(
        worker, (world, port, str(tmp_path)), nprocs=world, join=False, daemon=True
    )
    try:
        wait_for([tmp_path / f"running{rank}" for rank in range(world)])
        os.kill(group.pids()[stopped], signal.SIGSTOP)
        waiting = [rank for rank in range(world) if rank != stopped]
        wait_for([tmp_path / f"error{rank}" for rank in waiting])
        lines = [(tmp_path / f"error{rank}").read_text(encoding="utf-8") for rank in waiting]
    finally:
        for process in group.processes:
            process.kill()
            process.join()
    expired = [line for line in lines if line.startswith(PeerTimeoutError.__name__)]
    assert expired, "the first worker that waited too long"
    for line in lines:
        assert line.count("\n") == 0 or lost_peer(RuntimeError(line)), line
    for line in expired:
        assert f"of {world} waited 3 s for rank {stopped}: " in line


def test_a_worker_names_the_others_before_its_trial_is_killed_for_its_silence() -> None:
    for silence in (timeouts.SHORTEST_SILENCE, timeouts.SILENCE_SECONDS):
        waited = timeouts.COLLECTIVE_SHARE * silence
        assert waited + grace_of(waited) < silence
