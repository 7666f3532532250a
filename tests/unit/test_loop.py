from __future__ import annotations

import io
from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch

from orchestrator.ledger import failed_attempts
from tests.conftest import SMALL
from tests.small import MODELS
from trainables.checkpoint import Checkpoint
from trainables.config import Config
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import SCHEMAS, DivergedError, Outcome, Tables, to_arrow
from trainables.training import loop
from trainables.training.attempt import attempt, outcome_of
from trainables.training.final_test import RunResult
from trainables.training.loop import Progress, train
from trainables.training.run_status import RunStatus
from trainables.training.trained import Trained
from trainables.worker import Inline, report_of


class Memory:
    """A sink that keeps everything in this process."""

    trains = True

    code = "test"

    def __init__(self) -> None:
        self.kept: Checkpoint | bytes | None = None
        """A checkpoint, or the bytes of its file."""
        self.committed: list[tuple[Outcome, Tables]] = []
        self.shelf: dict[str, Trained] = {}

    def done(self, digest: str) -> Outcome | None:
        return None

    def pruned(self, digest: str) -> bool:
        return False

    def resume(self, digest: str) -> Checkpoint | None:
        if isinstance(self.kept, bytes):
            return Checkpoint.read(io.BytesIO(self.kept))
        return self.kept

    checkpoint = resume

    def keep(self, digest: str, checkpoint: Checkpoint, status: RunStatus | None = None) -> None:
        self.kept = checkpoint

    def alive(self, digest: str, status: RunStatus | None = None) -> None:
        pass

    def weights(self, training: str) -> Trained | None:
        return self.shelf.get(training)

    def keep_weights(self, trained: Trained) -> Trained:
        return self.shelf.setdefault(trained.training, trained)

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        self.committed.append((outcome, tables))


def in_bytes(checkpoint: Checkpoint) -> bytes:
    """The file of a checkpoint."""
    file = io.BytesIO()
    checkpoint.write(file)
    return file.getvalue()


def finish(run: Generator[Progress, None, RunResult]) -> RunResult:
    while True:
        try:
            next(run)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", [SMALL["mode"], "feedforward"], ids=["diffusion", "feedforward"])
def test_a_killed_run_resumes_to_the_identical_numbers(
    small: Callable[..., Config], mode: Any, model: str
) -> None:
    settings = {"steps": 8, "batch": 4, "validate_every": 4}
    config = small(model={model: MODELS[model]}, mode=mode, train=settings)
    straight = finish(train(config, WorkerContext()))
    killed = train(config, WorkerContext())
    half = next(killed)
    killed.close()
    resumed = finish(train(config, WorkerContext(), half.save()))

    def losses(measured: RunResult) -> list[float]:
        return [row["loss_sum"] for row in measured.record.history]

    assert losses(resumed) == losses(straight)
    assert resumed.rows == straight.rows
    assert resumed.probes == straight.probes


def test_a_run_resumes_between_two_validations_to_the_identical_numbers(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(train={"steps": 8, "batch": 4, "validate_every": 4})
    straight = finish(train(config, WorkerContext()))
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    killed = train(config, WorkerContext())
    seen = [next(killed) for _ in range(6)]
    assert [(p.step, p.score is None) for p in seen] == [
        *((step, True) for step in (1, 2, 3)),
        (4, False),
        *((step, True) for step in (5, 6)),
    ]
    reported = [report_of(p) for p in seen]
    assert [r["best"] for r in reported] == [None] * 3 + [seen[3].score] * 3
    checkpoint = seen[-1].save()
    killed.close()
    resumed = finish(train(config, WorkerContext(), checkpoint))
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in run.record.history]
        for run in (straight, resumed)
    ]
    assert timeless[0] == timeless[1]
    assert resumed.rows == straight.rows


def test_a_share_in_more_parts_means_the_same(small: Callable[..., Config]) -> None:
    config = small(train={"steps": 6, "batch": 4, "validate_every": 2})
    whole, split = (finish(train(config, WorkerContext(microbatch_factor=n))) for n in (1, 4))
    losses = [[row["loss_sum"] for row in run.record.history] for run in (whole, split)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_what_normalises_over_a_batch_is_not_split(small: Callable[..., Config]) -> None:
    config = small(model={"medsegdiff_new": MODELS["medsegdiff_new"]}, mode="feedforward")
    whole, split = (finish(train(config, WorkerContext(microbatch_factor=n))) for n in (1, 2))
    assert split.rows == whole.rows
    assert split.microbatch_factor == 1


def test_all_that_is_measured_is_device_time(small: Callable[..., Config]) -> None:
    sink = Memory()
    assert outcome_of(attempt(small(), sink, WorkerContext())) == "finished"
    row = sink.committed[0][1]["trials"][0]
    parts = ("train_seconds", "validate_seconds", "test_seconds", "probe_seconds")
    assert row["device_seconds"] > sum(row[part] for part in parts)


def test_what_ran_out_of_memory_is_recorded_with_its_reason(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(torch.nn.Conv2d, "forward", full)
    sink = Memory()
    run = attempt(small(), sink, WorkerContext())
    with pytest.raises(StopIteration) as end:
        next(run)
    assert end.value.value.outcome == "failed"
    assert failed_attempts.out_of_memory(end.value.value.reason)
    assert failed_attempts.out_of_memory(sink.committed[0][1]["trials"][0]["reason"])


def test_a_nan_stops_the_run_with_its_step_and_is_recorded_as_diverged(
    small: Callable[..., Config],
) -> None:
    wild = small(
        train={"steps": 30, "batch": 4, "validate_every": 2, "learning_rate": 1e30, "clip": 1e30}
    )
    with pytest.raises(DivergedError, match=r"(loss|gradient norm) is (nan|inf) at step \d+ of 30"):
        finish(train(wild, WorkerContext()))
    sink = Memory()
    assert outcome_of(attempt(wild, sink, WorkerContext())) == "diverged"
    ((outcome, tables),) = sink.committed
    (trial,) = tables["trials"]
    assert outcome == trial["outcome"] == "diverged"
    assert "at step" in trial["reason"]


def test_an_exception_is_recorded_as_failed_with_its_reason(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()

    def explode(*_: Any) -> None:
        raise MemoryError("out of memory")

    monkeypatch.setattr(type(config.mode), "losses", explode)
    sink = Memory()
    assert outcome_of(attempt(config, sink, WorkerContext())) == "failed"
    assert "MemoryError: out of memory" in sink.committed[0][1]["trials"][0]["reason"]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "garbage"])
def test_a_bad_checkpoint_is_named_and_the_run_starts_over(
    small: Callable[..., Config], damage: str
) -> None:
    config, sink = small(), Memory()
    saved = next(train(small(seed=9) if damage == "foreign" else config, WorkerContext())).save()
    other = in_bytes(saved)
    sink.kept = {"truncated": other[:-100], "foreign": other, "garbage": b"x"}[damage]
    with pytest.warns(UserWarning, match=f"checkpoint of {config.digest()} ignored"):
        assert outcome_of(attempt(config, sink, WorkerContext())) == "finished"


def test_a_checkpoint_holds_tensors_and_json_only(small: Callable[..., Config]) -> None:
    state = next(train(small(), WorkerContext())).save()
    read = Checkpoint.read(io.BytesIO(in_bytes(state)))
    assert read.header == state.header
    assert read.header["digest"] == small().digest()
    assert all(isinstance(v, torch.Tensor) for v in read.state_dicts["network"].values())


ABSENT = ("logs", "annotators")
"""Tables of models that a library trains, and of data with several annotators."""


def test_every_row_of_a_finished_attempt_fits_its_schema(small: Callable[..., Config]) -> None:
    sink = Memory()
    outcome_of(attempt(small(task={"histology": {"size": 32}}), sink, WorkerContext()))
    ((_, tables),) = sink.committed
    assert set(tables) == set(SCHEMAS)
    for name, rows in tables.items():
        table = to_arrow(name, rows, {"digest": "d", "attempt": "a"})
        assert table.num_rows == len(rows)
        assert (len(rows) > 0) == (name not in ABSENT)
    (trial,) = tables["trials"]
    unset = {k for k in SCHEMAS["trials"].names if trial.get(k) is None}
    device = set() if torch.cuda.is_available() else {"peak_device_bytes"}
    assert unset == {"digest", "attempt", "reason"} | device


def test_the_schedule_is_shared_by_every_seed_and_the_weights_are_not(
    small: Callable[..., Config],
) -> None:
    a, b = (finish(train(small(seed=s), WorkerContext())) for s in (0, 1))
    assert a.record.history[0]["loss_sum"] != b.record.history[0]["loss_sum"]
    assert [r["case"] for r in a.rows.cases] == [r["case"] for r in b.rows.cases]


def test_a_small_network_overfits_four_tiles(small: Callable[..., Config]) -> None:
    config = small(
        task={"synthetic": {"size": 16, "cases": 4, "noise": 0.1}},
        mode="feedforward",
        train={"steps": 150, "batch": 8, "validate_every": 50, "learning_rate": 5e-3},
    )
    assert finish(train(config, WorkerContext())).record.best_score > 0.9


def test_what_is_committed_already_is_not_trained_again(small: Callable[..., Config]) -> None:
    class Committed(Memory):
        def done(self, digest: str) -> Outcome | None:
            return "diverged"

    sink = Committed()
    assert list(attempt(small(), sink, WorkerContext())) == []
    assert sink.committed == []


def test_a_divergence_after_a_resume_keeps_the_steps_before_it(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, sink = small(), Memory()
    sink.kept = next(train(config, WorkerContext())).save()
    broken = torch.tensor([float("nan")] * 4, requires_grad=True)
    monkeypatch.setattr(type(config.mode), "losses", lambda *_: broken)
    assert outcome_of(attempt(config, sink, WorkerContext())) == "diverged"
    tables = sink.committed[0][1]
    assert [row["step"] for row in tables["steps"]] == [2]
    assert tables["trials"][0]["steps"] == 2


def test_data_that_are_not_those_of_who_sent_the_trial_are_recorded(
    small: Callable[..., Config],
) -> None:
    sink, sent = Memory(), "0" * 16
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    assert outcome_of(attempt(config, sink, WorkerContext(), sent)) == "failed"
    assert f"its digest is {config.digest()} here and {sent} where it was sent" in str(
        sink.committed[0][1]["trials"][0]["reason"]
    )


def test_who_asks_for_no_gpu_gets_none(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = small()
    job = {
        "config": config.plain(),
        "digest": config.digest(),
        "sink": None,
        "microbatch_factor": 1,
        "checkpoint_every": None,
        "cpus": 1,
    }
    for gpus, device in ((0.0, "cpu"), (0.5, "cuda")):
        trial: Any = Inline.__new__(Inline)
        trial.reset_config({**job, "gpus": gpus})
        assert trial._run.gi_frame.f_locals["context"].device == device


def test_the_first_report_of_a_resumed_run_tells_what_was_before(
    small: Callable[..., Config],
) -> None:
    sink = Memory()
    killed = attempt(small(), sink, WorkerContext())
    kept = next(progress for progress in killed if progress.score is not None)
    killed.close()
    resumed = attempt(small(), sink, WorkerContext())
    progress = next(resumed)
    told = report_of(progress, first=True)
    assert told["ran"]["device"]
    assert told["ran"]["world_size"] == 1
    before = {"step": 2, "score": kept.score, "case_scores": kept.case_scores}
    assert told["earlier"][0] == before
    assert report_of(progress)["earlier"] == []
    resumed.close()
