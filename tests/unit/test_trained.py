"""Trainings and readings: a training is trained once, and others read its kept weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import search_spaces
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.ledger.weights import Retention, weights_key
from orchestrator.planning.plan import Plan, Trial, make_plan
from orchestrator.planning.trainings import networks_to_train
from orchestrator.planning.validation import check
from orchestrator.storage.object_store import Store
from orchestrator.sweep.declarations import declare, declare_trial
from orchestrator.tables.needed_weights import needed_weights
from orchestrator.tables.snapshot import Snapshot
from orchestrator.tables.vacuum import garbage
from search_spaces import Search, Space, Uniform, walk
from tests.conftest import Segprint
from trainables.config import Config, parse
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import SCHEMAS
from trainables.training import step
from trainables.training.attempt import attempt, outcome_of
from trainables.training.trained import Trained, WeightsError

Small = Callable[..., Config]
DDPM = {"diffusion": {"sampler": {"ddpm": {"steps": 3}}, "members": 2}}
READING: list[dict[str, Any]] = [
    {"mode": DDPM},
    {"mode": {"diffusion": {"sampler": {"ddim": {"steps": 2, "spacing": "log_snr"}}}}},
    {"mode": {"diffusion": {"start": "one_step", "t_start": 0.5}}},
    {"test": {"overlap": 0.25, "controls": ["shuffled_image"], "pictures": 0}},
    {"probe": {"bins": 2, "draws": 3, "controls": ["random_mask"]}},
]
TRAINING: list[dict[str, Any]] = [
    {"seed": 1},
    {"train": {"steps": 7, "batch": 4, "validate_every": 2}},
    {"train": {"steps": 6, "batch": 4, "validate_every": 3}},
    {"mode": {"diffusion": {"schedule": "cosine"}}},
    {"mode": {"diffusion": {"t_high": 0.9}}},
    {"task": {"synthetic": {"size": 16, "cases": 5}}},
    {"test": {"unit": "tiles"}},  # which validation reads as well
]
UNTIMED = ("seconds", "attempt", "digest")


def run(
    config: Config,
    ledger: Ledger,
    retention: Retention | None = None,
    checkpoint_every: float | None = None,
) -> str:
    sink = LedgerSink(ledger, "code", retention or Retention())
    context = WorkerContext()
    return outcome_of(attempt(config, sink, context, checkpoint_every=checkpoint_every))


def rows(ledger: Ledger, config: Config) -> dict[str, list[dict[str, Any]]]:
    """The committed rows of a config, without times, devices and keys."""
    snapshot = Snapshot(ledger.store)
    return {
        name: [
            {k: v for k, v in row.items() if k not in UNTIMED}
            for row in snapshot.table(name, [config.digest()]).to_pylist()
        ]
        for name in SCHEMAS
        if name != "trials"
    }


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that were trained since, one entry each."""
    steps: list[int] = []
    original = step.step

    def counted(state: Any, learner: Any, batch: Any) -> Any:
        steps.append(state.step)
        return original(state, learner, batch)

    monkeypatch.setattr(step, "step", counted)
    return steps


@pytest.mark.parametrize("change", READING, ids=str)
def test_a_reading_field_does_not_enter_the_identity_of_the_training(
    small: Small, change: dict[str, Any]
) -> None:
    assert small(**change).training_digests == small().training_digests
    assert small(**change).digest() != small().digest()


def test_tiles_and_images_are_readings_of_one_training(small: Small) -> None:
    images = {"unit": "images", "overlap": 0.25, "controls": ["shuffled_image"], "pictures": 0}
    assert small(test=images).training_digests == small(test={"unit": "tiles"}).training_digests


@pytest.mark.parametrize("change", TRAINING, ids=str)
def test_any_other_field_does(small: Small, change: dict[str, Any]) -> None:
    assert small(**change).training_digests != small().training_digests


@pytest.mark.parametrize("change", READING, ids=str)
def test_a_second_reading_trains_nothing_and_has_the_sums_of_one_that_was_trained(
    small: Small, ledger: Ledger, tmp_path: Path, trained: list[int], change: dict[str, Any]
) -> None:
    first, second = small(), small(**change)
    assert run(first, ledger) == "finished"
    assert len(trained) == 6
    assert run(second, ledger) == "finished"
    assert len(trained) == 6
    apart = Ledger(Store(str(tmp_path / "apart")))
    assert run(second, apart) == "finished"
    assert len(trained) == 12
    assert rows(ledger, second) == rows(apart, second)
    read, alone = (
        Snapshot(each.store).table("trials", [second.digest()]).to_pylist()[0]
        for each in (ledger, apart)
    )
    for column in ("score", "best_step", "steps", "weights", "trainings", "parameters"):
        assert read[column] == alone[column], column
    (weights,) = read["weights"]
    kept = ledger.weights.load(read["trainings"][0])
    assert kept is not None
    assert kept.sha256 == weights
    assert read["device_seconds"] == pytest.approx(read["reading_seconds"])
    assert alone["device_seconds"] > alone["reading_seconds"] + 0.5 * alone["train_seconds"]


def test_a_deep_ensemble_reads_the_twin_that_exists(
    small: Small, ledger: Ledger, tmp_path: Path, trained: list[int]
) -> None:
    ensemble = small(mode={"deep_ensemble": {"networks": 2, "members": 2}})
    run(small(mode="feedforward"), ledger)
    run(ensemble, ledger)
    assert len(trained) == 12  # one network each
    apart = Ledger(Store(str(tmp_path / "apart")))
    run(ensemble, apart)
    assert len(trained) == 24
    assert rows(ledger, ensemble) == rows(apart, ensemble)
    run(small(mode={"deep_ensemble": {"networks": 2}}), ledger)
    assert len(trained) == 24


def test_an_interrupted_commit_leaves_weights_that_the_next_attempt_reads(
    small: Small, ledger: Ledger, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            run(small(), ledger, checkpoint_every=3600)  # else the next attempt may continue one
    assert ledger.commits() == {}
    assert run(small(), ledger) == "finished"
    assert len(trained) == 6


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone", "record"])
def test_damaged_weights_are_named_and_trained_again(
    small: Small, ledger: Ledger, trained: list[int], damage: str
) -> None:
    config = small()
    (training,) = config.training_digests
    run(config, ledger)
    kept = ledger.weights.load(training)
    assert kept is not None
    key = weights_key(training, kept.sha256)
    match damage:
        case "truncated":
            ledger.store.put(key, kept.tensors[:-100])
        case "changed":
            ledger.store.put(key, kept.tensors[:-1] + bytes([kept.tensors[-1] ^ 1]))
        case "gone":
            ledger.store.delete(key)
        case _:
            ledger.store.put(f"weights/{training}.json", b'{"training": 1}')
    name = kept.sha256[:16] if damage != "record" else "does not parse"
    with pytest.warns(UserWarning, match=f"{name}.*training again"):
        assert run(small(mode=DDPM), ledger) == "finished"
    assert len(trained) == 12
    again = ledger.weights.load(training)
    assert again is not None
    assert again.sha256 == kept.sha256


def test_weights_of_another_architecture_are_refused_by_name(small: Small, ledger: Ledger) -> None:
    run(small(), ledger)
    kept = ledger.weights.load(small().training_digests[0])
    assert kept is not None
    other = small(mode={"diffusion": {"loss": "hybrid", "target": "v"}})
    network = other.model.build(other.ports)
    with pytest.raises(WeightsError, match=f"{kept.sha256[:16]} do not fit the network"):
        kept.load_into(network)


def test_of_two_trainings_of_one_digest_the_first_counts(small: Small, ledger: Ledger) -> None:
    run(small(), ledger)
    (training,) = small().training_digests
    first = ledger.weights.load(training)
    assert first is not None
    network = first.network()
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    second = Trained.of(parse(first.config), training, network, first.training_record)
    assert second.sha256 != first.sha256
    assert ledger.weights.keep(second, Retention()).sha256 == first.sha256
    assert ledger.store.list(f"weights/{training}/") == [weights_key(training, first.sha256)]


def test_a_study_that_keeps_none_keeps_none_and_a_budget_is_not_exceeded(
    small: Small, ledger: Ledger, trained: list[int]
) -> None:
    run(small(), ledger, Retention("none"))
    assert ledger.store.list("weights/") == []
    run(small(seed=1), ledger, Retention(gigabytes=1e-9))
    assert ledger.store.list("weights/") == []
    run(small(mode=DDPM), ledger)
    assert len(trained) == 18
    assert len(ledger.weights.sizes()) == 1


def test_the_weights_are_safetensors_that_rebuild_the_network(small: Small, ledger: Ledger) -> None:
    import safetensors.torch

    run(small(), ledger)
    kept = ledger.weights.load(small().training_digests[0])
    assert kept is not None
    state = safetensors.torch.load(kept.tensors)
    network = kept.network()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("space", "readings", "trainings"), [("sampling_cost", 12, 1), ("ensemble_size", 11, 9)]
)
def test_a_space_of_readings_trains_each_network_once(
    space: str, readings: int, trainings: int
) -> None:
    """Per task: the twelve settings of a sampler; four of diffusion, four of a twin, 2 + 4 + 8."""
    cells = [c for c in check(search_spaces.load(space)[1]) if c.name.startswith("nuclei")]
    configs = [cell.config(cell.example, {}, 0) for cell in cells]
    assert len(configs) == readings
    assert len({d for config in configs for d in config.training_digests}) == trainings


def networks_left(plan: Plan) -> int:
    return sum(n for _, n in networks_to_train(plan.pending, plan.kept, keeps=plan.keeps))


def test_a_plan_counts_each_training_once(ledger: Ledger) -> None:
    space = search_spaces.load("sampling_cost")[1]
    space = dataclasses.replace(space, config={**space.config, "task": "nuclei"})
    plan = make_plan("sampling_cost", space, ledger)
    assert len(plan.pending) == 12
    assert networks_left(plan) == 1
    kept_none = make_plan("sampling_cost", dataclasses.replace(space, keep="none"), ledger)
    assert networks_left(kept_none) == 12


def test_gc_spares_the_weights_that_a_declared_study_needs(
    small: Small, ledger: Ledger, tmp_path: Path
) -> None:
    space = Space("?", {k: v for k, v in small().plain().items() if k != "seed"})
    plan = make_plan("s", space, ledger)
    ledger.studies.describe("s", {"question": "", "arms": [], "revision": plan.revision})
    declare(plan, ledger)
    run(small(), ledger)
    run(small(seed=5), ledger)
    old = time.time() - 30 * 86400
    for file in (tmp_path / "store" / "weights").rglob("*.*"):
        os.utime(file, (old, old))
    (lost,) = small(seed=5).training_digests
    (needed,) = small().training_digests
    found = [g.key for g in garbage(ledger, timedelta(days=7)) if g.key.startswith("weights/")]
    assert len(found) == 2
    assert all(key.startswith(f"weights/{lost}") for key in found)
    assert found[0].endswith(".json")
    ledger.studies.annotate("s", retired=True)
    found = [g.key for g in garbage(ledger, timedelta(days=7)) if g.key.startswith("weights/")]
    assert any(needed in key for key in found)


@pytest.mark.parametrize("keep", ["final", "all"])
def test_weights_of_search_trials_are_needed_until_the_search_is_over_or_for_good(
    small: Small, ledger: Ledger, keep: str
) -> None:
    config = {k: v for k, v in small().plain().items() if k != "seed"}
    config["train"] = {"steps": 2, "batch": 4, "validate_every": 1, "clip": Uniform(0.5, 1.0)}
    search = Search(trials=2, overrides={"train.steps": 1})
    space = Space("?", config, search=search, keep=keep)

    def of_stage(stage: str) -> set[str]:
        slots = [slot for slot in ledger.studies.current("s") if slot.stage == stage]
        declared = ledger.studies.declarations(slots).values()
        return {training for about in declared for training in about.get("trainings", ())}

    plan = make_plan("s", space, ledger)
    ledger.studies.describe("s", {"question": "", "arms": [], "revision": plan.revision})
    (cell,) = plan.cells
    values = {path: 0.75 for path, _ in walk(cell.template)}
    searched = cell.config(values, search.overrides, search.seed)
    declare_trial(plan, Trial(cell, "search", 0, searched, values, 1, None, "pending"), ledger)
    assert set(needed_weights(ledger)) == of_stage("search") != set()
    final = cell.config(values, {}, 0)
    declare_trial(plan, Trial(cell, "final", 0, final, values, 1, None, "pending"), ledger)
    for_good = of_stage("search") if keep == "all" else set[str]()
    assert set(needed_weights(ledger)) == of_stage("final") | for_good


def test_exported_weights_rebuild_the_network_without_the_store(
    small: Small, ledger: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    import safetensors.torch

    config = small()
    run(config, ledger)
    out = tmp_path / "here" / "model.safetensors"
    store = ("--store", ledger.store.url)
    ended = inline(*store, "weights", "export", config.digest(), "-o", str(out))
    assert ended.returncode == 0, ended.stderr
    about = json.loads(out.with_suffix(".json").read_text())
    rebuilt = parse(about["config"])
    network = rebuilt.model.build(rebuilt.ports)
    network.load_state_dict(safetensors.torch.load_file(str(out)))
    assert about["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    listed = inline(*store, "weights", "ls", "--json")
    (row,) = json.loads(listed.stdout)
    assert row["bytes"] == out.stat().st_size
