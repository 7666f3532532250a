"""A committed trial trained again: what counts as the same, and what is said where it is not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import torch

from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.reproduce import (
    InMemorySink,
    Reproduction,
    comparison,
    load_trial,
    reproduction,
    train_again,
)
from orchestrator.tables.published import publish
from orchestrator.tables.published_store import open_ledger
from tests.conftest import Segprint
from trainables.config import Config
from trainables.datasets.synthetic import Synthetic
from trainables.decoding.cache import forget
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import Outcome
from trainables.training.attempt import attempt, commit_unfinished, outcome_of

CODE = "c0ffee"
Small = Callable[..., Config]


def committed(ledger: Ledger, config: Config, stop: Outcome | None = None) -> str:
    """Train and commit; with ``stop``, end it after the first validation."""
    sink = LedgerSink(ledger, CODE)
    run = attempt(config, sink, WorkerContext())
    if stop is None:
        outcome_of(run)
    else:
        next(progress for progress in run if progress.score is not None)
        run.close()
        commit_unfinished(config, sink, stop, "enough", {})
    return config.digest()


def repeated(ledger: Ledger, digest: str, code: str = CODE) -> Reproduction:
    then, memory = load_trial(ledger, digest), InMemorySink(code)
    for _ in train_again(then, memory, WorkerContext()):
        pass
    return reproduction(then, memory, WorkerContext())


def test_the_same_settings_give_every_bit_again_and_write_nothing(
    ledger: Ledger, small: Small
) -> None:
    digest = committed(ledger, small())
    before = ledger.store.entries("")
    result = repeated(ledger, digest)
    assert {c.verdict for c in result.compared} == {"identical"}
    assert result.settings == []
    assert result.reproduced
    compared = {c.what for c in result.compared}
    assert {"trials.score", "steps.loss_sum", "cases.tp", "calibration.nll_sum"} <= compared
    assert {"samples.matched", "probes.x0_error_sum"} <= compared
    assert ledger.store.entries("") == before


def test_a_trial_of_a_published_study_gives_the_same_rows_again(
    ledger: Ledger, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published rows are rounded and coarser, and lack histograms of validation cases."""
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    digest = committed(ledger, small())
    ledger.studies.describe("study", {"revision": "r1"})
    about = Declaration(arm="arm", config=small().plain(), values={})
    ledger.studies.declare(Declared("study", "r1", "cell", "final", 0, digest), about)
    publish(ledger, "study", str(tmp_path / "published"))
    result = repeated(open_ledger(str(tmp_path / "published")), digest)
    assert {c.verdict for c in result.compared} == {"identical"}
    assert {"calibration.p_sum", "surfaces.true_area"} <= {c.what for c in result.compared}
    assert result.reproduced


def test_a_trial_from_before_a_reading_was_made_is_still_the_same(
    ledger: Ledger, small: Small
) -> None:
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    then = load_trial(ledger, committed(ledger, config))
    rows = {name: table.to_pylist() for name, table in then.tables.items()}
    sample = pc.field("reading") == "sample"
    fewer = {**then.tables, "calibration": then.tables["calibration"].filter(sample)}
    assert 0 < fewer["calibration"].num_rows < len(rows["calibration"])
    compared = comparison.compare(dataclasses.replace(then, tables=fewer), rows)
    assert {c.verdict for c in compared} == {"identical"}
    # The other way round something is missing.
    found = {**rows, "calibration": [r for r in rows["calibration"] if r["reading"] == "sample"]}
    assert "differs" in {c.verdict for c in comparison.compare(then, found)}


def test_another_thread_count_is_named_and_held_to_the_tolerance(
    ledger: Ledger, small: Small
) -> None:
    train = {"steps": 2, "batch": 2, "validate_every": 2}
    digest = committed(ledger, small(mode="feedforward", train=train))
    torch.set_num_threads(2)
    result = repeated(ledger, digest)
    assert [dataclasses.astuple(s) for s in result.settings] == [("threads", "1", "2")]
    assert result.reproduced
    far = {c.what: c.difference for c in result.compared if c.difference is not None}
    assert max(far.values()) <= comparison.TOLERANCE


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"code": "other"}, "code"),
        ({"device": "another kind", "devices": None}, "device"),
        ({"world_size": 2}, "workers"),
        ({"packages": json.dumps({"torch": "1.0"})}, "torch"),
        ({"threads": None}, "threads"),
        ({"reason": "short of memory: each batch in 2 times more parts"}, "batch"),
        ({"devices": json.dumps(["one", "another"])}, "device"),
    ],
)
def test_every_setting_that_is_not_the_same_is_named(
    ledger: Ledger, small: Small, change: dict[str, Any], named: str
) -> None:
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    then = load_trial(ledger, committed(ledger, config)).trial
    assert named in {s.what for s in comparison.setting_differences({**then, **change}, then)}


def test_equal_bits_are_not_expected_of_a_gpu(ledger: Ledger, small: Small) -> None:
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    on_cpu = load_trial(ledger, committed(ledger, config)).trial
    packages = {**json.loads(on_cpu["packages"]), "cuda": "13.0", "cudnn": "91002"}
    on_gpu = {**on_cpu, "packages": json.dumps(packages)}
    assert comparison.setting_differences(on_cpu, on_cpu) == []
    (named,) = comparison.setting_differences(on_gpu, on_gpu)
    assert named.what == "order of sums on a GPU"


def test_code_that_nobody_committed_is_not_known_to_be_the_same(
    ledger: Ledger, small: Small
) -> None:
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    then = {**load_trial(ledger, committed(ledger, config)).trial, "code": "c0ffee+"}
    assert [s.what for s in comparison.setting_differences(then, then)] == ["code"]


@pytest.mark.parametrize("column", ["loss_sum", "score_sum"])
def test_one_changed_bit_under_the_same_settings_does_not_reproduce(
    ledger: Ledger, small: Small, column: str
) -> None:
    config, memory = small(mode="feedforward"), InMemorySink(CODE)
    for _ in attempt(config, memory, WorkerContext()):
        pass
    rows = [dict(row) for row in memory.tables["steps"]]
    rows[0][column] *= 1 + 1e-15
    ledger.commit(config.digest(), "finished", {**memory.tables, "steps": rows})
    result = repeated(ledger, config.digest())
    assert not result.reproduced
    (wrong,) = (c for c in result.compared if c.verdict != "identical")
    assert (wrong.what, wrong.verdict) == (f"steps.{column}", "close")
    assert repeated(ledger, config.digest(), code="other").reproduced


def test_rows_that_are_missing_do_not_reproduce_under_any_settings(
    ledger: Ledger, small: Small
) -> None:
    config, memory = small(mode="feedforward"), InMemorySink(CODE)
    for _ in attempt(config, memory, WorkerContext()):
        pass
    fewer = {**memory.tables, "cases": memory.tables["cases"][1:]}
    ledger.commit(config.digest(), "finished", fewer)
    result = repeated(ledger, config.digest(), code="other")
    assert not result.reproduced
    assert "cases.tp" in result.verdict


def test_what_was_pruned_is_trained_as_far_as_it_came(ledger: Ledger, small: Small) -> None:
    result = repeated(ledger, committed(ledger, small(), stop="pruned"))
    values = {c.what: (c.stored, c.again) for c in result.compared}
    assert values["trials.outcome"] == ("pruned", "pruned")
    assert values["trials.steps"] == (2, 2)
    assert {c.verdict for c in result.compared} == {"identical"}
    assert "threads" in {s.what for s in result.settings}  # nobody could say where it ran


def test_what_ran_short_of_memory_is_passed_in_as_many_parts_again(
    ledger: Ledger, small: Small
) -> None:
    config = small(mode="feedforward")
    short = {"outcome": "failed", "reason": "OutOfMemoryError: CUDA out of memory"}
    ledger.commit(config.digest(), "failed", {"trials": [short]})
    outcome_of(attempt(config, LedgerSink(ledger, CODE), WorkerContext(microbatch_factor=2)))
    then, memory = load_trial(ledger, config.digest()), InMemorySink(CODE)
    assert then.microbatch_factor == 2
    place = WorkerContext(microbatch_factor=then.microbatch_factor)
    for _ in train_again(then, memory, place):
        pass
    result = reproduction(then, memory, place)
    assert {c.verdict for c in result.compared} == {"identical"}
    assert result.settings == []


def test_what_diverged_diverges_again(ledger: Ledger, small: Small) -> None:
    train = {"steps": 6, "batch": 4, "validate_every": 2, "learning_rate": 1e30, "clip": 1e30}
    result = repeated(ledger, committed(ledger, small(mode="feedforward", train=train)))
    outcome = next(c for c in result.compared if c.what == "trials.outcome")
    assert (outcome.stored, outcome.again) == ("diverged", "diverged")
    assert result.reproduced


def test_changed_data_are_refused_with_both_hashes(
    ledger: Ledger, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    digest = committed(ledger, config)
    before = load_trial(ledger, digest).trial["data_hash"]
    drawn = Synthetic._discs
    monkeypatch.setattr(Synthetic, "_discs", lambda self, draws: 1 - drawn(self, draws))
    forget()
    try:
        with pytest.raises(ValueError, match=rf"their hash is \w+, it was {before}") as error:
            load_trial(ledger, digest)
        assert "\n" not in str(error.value)
    finally:
        forget()


def test_changed_formulas_are_refused_and_their_code_named(
    ledger: Ledger, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    digest = committed(ledger, config)
    monkeypatch.setattr(type(config.model), "version", 99)
    with pytest.raises(ValueError, match=f"formulas have changed.*{CODE}"):
        load_trial(ledger, digest)


def test_a_config_from_before_a_field_existed_is_refused_and_the_field_named(
    ledger: Ledger, small: Small
) -> None:
    config = small(model="intensity", mode="feedforward", train={"steps": 0})
    memory, spec = InMemorySink(CODE), config.plain()
    for _ in attempt(config, memory, WorkerContext()):
        pass
    del spec["train"]["fraction"], spec["test"]
    row = {**memory.tables["trials"][0], "config": json.dumps(spec)}
    ledger.commit("0" * 16, "finished", {**memory.tables, "trials": [row]})
    named = rf"before there was train.fraction, test, .*{config.digest()} now; .*{CODE}"
    with pytest.raises(ValueError, match=named):
        load_trial(ledger, "0" * 16)
    row = {**row, "config": json.dumps({**spec, "colour": "red"})}
    ledger.commit("1" * 16, "finished", {**memory.tables, "trials": [row]})
    with pytest.raises(ValueError, match=f"cannot parse its config: .*'colour'.*{CODE}"):
        load_trial(ledger, "1" * 16)


def test_the_command_prints_a_table_and_says_so_by_its_exit_code(
    inline: Segprint, ledger: Ledger, small: Small
) -> None:
    config, memory = small(mode="feedforward"), InMemorySink("x")
    for _ in attempt(config, memory, WorkerContext()):
        pass
    digest, store = config.digest(), ["--store", ledger.store.url]
    ledger.commit(digest, "finished", memory.tables)
    done = inline(*store, "run", digest)
    assert done.returncode == 0, done.stderr
    assert "steps.loss_sum" in done.stdout
    assert "was x" in done.stdout
    assert f"{digest}: reproduced, bit by bit" in done.stdout
    told = json.loads(inline(*store, "run", digest, "--json").stdout)
    assert told["reproduced"]
    assert {"what", "stored", "again", "difference", "verdict"} == set(told["compared"][0])


def test_an_unknown_digest_and_settings_of_a_space_are_bad_input(
    inline: Segprint, ledger: Ledger
) -> None:
    store = ["--store", ledger.store.url]
    for arguments, message in (
        (["0" * 16], "no committed trial has the digest"),
        (["0" * 16, "--set", "train.steps=4"], "a digest names one config"),
        (["quickstart", "--threads", "0"], "--threads 0 must be at least 1"),
    ):
        done = inline(*store, "run", *arguments)
        assert done.returncode == 2
        assert message in done.stderr


@pytest.mark.parametrize("table", ["cases", "calibration", "samples", "steps"])
def test_a_record_without_one_of_its_tables_is_not_reproduced(
    ledger: Ledger, small: Small, table: str
) -> None:
    config, memory = small(), InMemorySink(CODE)
    for _ in attempt(config, memory, WorkerContext()):
        pass
    assert memory.tables[table]
    fewer = {name: rows for name, rows in memory.tables.items() if name != table}
    ledger.commit(config.digest(), "finished", fewer)
    for code in (CODE, "other"):
        result = repeated(ledger, config.digest(), code=code)
        assert not result.reproduced
        assert f"{table}." in result.verdict


@pytest.mark.parametrize("column", ["task", "mode", "schedule", "model", "seed"])
def test_a_record_of_another_identity_is_not_reproduced(
    ledger: Ledger, small: Small, column: str
) -> None:
    config, memory = small(mode="feedforward"), InMemorySink(CODE)
    for _ in attempt(config, memory, WorkerContext()):
        pass
    value: Any = 7 if column == "seed" else "another"
    trial = {**memory.tables["trials"][0], column: value}
    ledger.commit(config.digest(), "finished", {**memory.tables, "trials": [trial]})
    result = repeated(ledger, config.digest(), code="other")
    assert not result.reproduced
    assert f"trials.{column}" in result.verdict


def test_counts_may_differ_on_other_hardware_only(ledger: Ledger, small: Small) -> None:
    config, memory = small(mode="feedforward"), InMemorySink(CODE)
    for _ in attempt(config, memory, WorkerContext()):
        pass
    cases = [dict(row) for row in memory.tables["cases"]]
    largest = max(cases, key=lambda row: row["tn"])
    largest["tn"] += 1
    ledger.commit(config.digest(), "finished", {**memory.tables, "cases": cases})
    result = repeated(ledger, config.digest(), code="other")
    assert not result.reproduced
    assert "cases.tn" in result.verdict
    torch.set_num_threads(2)
    assert "cases.tn" not in repeated(ledger, config.digest()).verdict
