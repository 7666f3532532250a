"""Runs killed while they write a checkpoint go on from the older one to the identical numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
import torch
from torch import distributed as dist

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.storage.object_store import Store, StoreError
from orchestrator.tables.snapshot import Snapshot
from tests.conftest import SMALL
from tests.faults.conftest import Hands
from tests.faults.proxy import Fault, Proxy, to
from trainables.checkpoint import Checkpoint
from trainables.config import parse
from trainables.runtime.worker_context import WorkerContext
from trainables.training import checkpoint_writer
from trainables.training.attempt import attempt, outcome_of
from trainables.training.run_status import RunStatus

CONFIG = {**SMALL, "train": {"steps": 10, "batch": 4, "validate_every": 2}}


class Stalling:
    """A file that stops its writer, for ever, before its third write."""

    def __init__(self, file: BinaryIO, tell: Callable[[Any], None]) -> None:
        self._file, self._tell, self._writes = file, tell, 0

    def write(self, data: bytes) -> int:
        self._writes += 1
        if self._writes == 3:
            self._tell("in the middle of a checkpoint")
            threading.Event().wait()
        return self._file.write(data)


@dataclass(frozen=True)
class StallingSink(LedgerSink):
    """The connection of a run whose second checkpoint never becomes whole."""

    tell: Callable[[Any], None] = print

    def keep(self, digest: str, checkpoint: Checkpoint, status: RunStatus | None = None) -> None:
        if checkpoint.header["step"] <= 2:
            super().keep(digest, checkpoint, status)
            self.tell("kept")
            return
        key = self.ledger.checkpoints.key(digest)
        self.ledger.store.put_stream(
            key, lambda file: checkpoint.write(cast("BinaryIO", Stalling(file, self.tell)))
        )


def train_and_stall(
    tell: Callable[[Any], None], url: str, world: int, rank: int, port: str
) -> None:
    """One worker of a run that stalls in its second checkpoint, and trains on."""
    torch.set_num_threads(1)
    if world > 1:
        join(port, world, rank)
    sink = StallingSink(Ledger(Store(url)), "code", tell=tell)
    for progress in attempt(parse(CONFIG), sink, WorkerContext(rank, world)):
        if progress.step == 2:  # the first checkpoint is whole before the second begins
            for thread in threading.enumerate():
                if thread.name == "checkpoint":
                    thread.join()
        if progress.step == 6:
            tell("trained on")


def train_to_the_end(
    tell: Callable[[Any], None], url: str, world: int, rank: int, port: str
) -> None:
    """One worker of a run that nobody disturbs; tells the steps that it reported."""
    torch.set_num_threads(1)
    if world > 1:
        join(port, world, rank)
    sink = LedgerSink(Ledger(Store(url)), "code")
    run = attempt(parse(CONFIG), sink, WorkerContext(rank, world))
    tell([progress.step for progress in run])


def join(file: str, world: int, rank: int) -> None:
    store = dist.FileStore(file, world)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)


def numbers(url: str) -> list[tuple[Any, ...]]:
    """The validations and test cases that a store holds, to the bit."""
    snapshot = Snapshot(Store(url))
    steps = snapshot.table("steps").to_pylist()
    cases = snapshot.table("cases").to_pylist()
    return [
        *sorted((r["step"], r["loss_sum"].hex(), r["score_sum"].hex()) for r in steps),
        *sorted((r["case"], r["split"], r["tp"], r["fp"], r["fn"]) for r in cases),
    ]


@pytest.fixture(params=["local", "s3"])
def urls(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """The stores of an uninterrupted run and of one that is killed."""
    root = str(tmp_path)
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        root = f"s3://segprint-test/{tmp_path.name}"
    return f"{root}/straight", f"{root}/killed"


@pytest.mark.slow
@pytest.mark.parametrize("world", [pytest.param(1, marks=pytest.mark.cluster), 2])
def test_a_run_killed_in_an_upload_goes_on_from_the_older_checkpoint_to_the_same_bits(
    urls: tuple[str, str], world: int, hands: Hands, tmp_path: Path
) -> None:
    straight, killed = urls
    workers = [
        hands(train_and_stall, killed, world, rank, str(tmp_path / "first group"))
        for rank in range(world)
    ]
    said = [workers[0].next() for _ in range(3)]
    assert said[:1] == ["kept"]
    assert sorted(said[1:]) == ["in the middle of a checkpoint", "trained on"]
    for worker in workers:
        worker.kill()
        worker.process.join()
    digest = parse(CONFIG).digest()
    kept = Ledger(Store(killed)).checkpoints.load(digest)
    assert kept is not None
    assert kept.header["step"] == 2
    for url, steps in ((straight, [2, 4, 6, 8, 10]), (killed, [4, 6, 8, 10])):
        again = [
            hands(train_to_the_end, url, world, rank, f"{tmp_path}/group of {len(steps)}")
            for rank in range(world)
        ]
        assert [worker.done() for worker in again] == [[steps]] * world
    assert numbers(killed) == numbers(straight)


def test_an_upload_that_fails_is_named_tried_again_and_does_not_end_the_run(
    remote: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_writer, "RETRY_SECONDS", 0.0)
    config = parse(CONFIG)
    refusal = Fault("refuse", to("PUT", "checkpoints/"), times=1, status=403)
    proxy.fault(refusal)
    steps: list[int] = []
    sink = LedgerSink(Ledger(remote), "code")

    def train() -> None:
        for progress in attempt(config, sink, WorkerContext()):
            steps.append(progress.step)
            progress.keep()

    with pytest.warns(UserWarning, match="at step 2 was not written, the one before stays"):
        train()
    assert refusal.hits == 1
    assert steps == [2, 4, 6, 8, 10]
    assert Ledger(remote).done(config.digest()) == "finished"
    assert remote.list("checkpoints/") == []


def test_a_large_object_is_uploaded_in_parts_and_replaces_the_old_one_when_it_is_whole(
    remote: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.storage import s3_objects

    monkeypatch.setattr(s3_objects, "PART_BYTES", 5 * 2**20)
    parts = [bytes([n]) * (3 * 2**20) for n in range(4)]

    def write(file: BinaryIO) -> None:
        for part in parts:
            file.write(part)

    remote.put("large", b"old")
    broken = Fault("refuse", to("PUT", "partNumber=2"), times=None, status=403)
    proxy.fault(broken)
    with pytest.raises(StoreError, match="cannot write large"):
        remote.put_stream("large", write)
    assert broken.hits >= 1
    assert remote.get("large") == b"old"
    proxy.heal()
    lost = Fault("reset", to("PUT", "partNumber=2"), times=1)
    proxy.fault(lost)
    remote.put_stream("large", write)
    assert lost.hits == 1
    with remote.open("large") as file:
        assert file.read() == b"".join(parts)


def test_a_run_that_is_stopped_keeps_its_newest_state_and_a_pruned_one_does_not(
    ledger: Ledger,
) -> None:
    config = parse(CONFIG)
    digest, sink = config.digest(), LedgerSink(ledger, "code")
    run = attempt(config, sink, WorkerContext(), digest, checkpoint_every=60)
    stopped = [next(run) for _ in range(2)][-1]
    assert ledger.store.list("checkpoints/") == [], "the interval of an hour is not over"
    stopped.keep()
    kept = ledger.checkpoints.load(digest)
    assert kept is not None
    assert kept.header["step"] == 4
    ledger.commit(digest, "pruned", {"trials": [{"outcome": "pruned", "task": "t"}]})
    next(run).keep()
    assert ledger.store.list("checkpoints/") == []
    run.close()


def test_an_interval_in_minutes_replaces_that_of_validations(ledger: Ledger) -> None:
    config = parse(CONFIG)
    sink = LedgerSink(ledger, "code")
    run = attempt(config, sink, WorkerContext(), checkpoint_every=1e-9)
    steps = [progress.step for progress in run]
    assert steps == [2, 4, 6, 8, 10]
    assert outcome_of(attempt(config, sink, WorkerContext())) == "finished"
