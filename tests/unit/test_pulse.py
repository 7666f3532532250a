from __future__ import annotations

import threading
from pathlib import Path

from trainables.datasets.synthetic import Synthetic
from trainables.decoding.cache import load
from trainables.decoding.rules import accepted
from trainables.decoding.tree import tree
from trainables.runtime.heartbeat import Heartbeat, beat


def test_a_run_that_gets_on_is_told_of_and_one_that_hangs_falls_silent() -> None:
    told = threading.Semaphore(0)
    with Heartbeat(told.release, every=0.01) as pulse:
        for _ in range(3):
            pulse.beat()
            assert told.acquire(timeout=10)
        assert not told.acquire(timeout=0.2)


def test_a_store_that_is_away_does_not_end_the_pulse() -> None:
    calls = threading.Semaphore(0)

    def away() -> None:
        calls.release()
        raise OSError("away")

    with Heartbeat(away, every=0.01) as pulse:
        for _ in range(2):
            pulse.beat()
            assert calls.acquire(timeout=10)


def test_decoding_is_a_sign_of_life() -> None:
    told = threading.Semaphore(0)
    with Heartbeat(told.release, every=0.01):
        load(Synthetic(size=8, cases=2, radius=1.25))
        assert told.acquire(timeout=10)
    beat()  # nobody listens: nothing happens


def test_looking_for_files_is_a_sign_of_life(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    for look in (lambda: tree(str(tmp_path)), lambda: accepted(Synthetic(size=8, cases=2))):
        told = threading.Semaphore(0)
        with Heartbeat(told.release, every=0.01):
            look()
            assert told.acquire(timeout=10)
