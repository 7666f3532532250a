"""nnU-Net is the library's own, from the raw data to the probabilities; only its caller is ours."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.tables.snapshot import Snapshot
from tests.conftest import Segprint
from trainables.config import Config, parse
from trainables.data import Prepared, prepared
from trainables.models.nnunet import NNUNet
from trainables.nnunet import raw_dataset
from trainables.nnunet.plans import prepare
from trainables.nnunet.training import NNUNetTrainer
from trainables.nnunet.workspace import Workspace
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training import loop
from trainables.training.attempt import attempt, outcome_of
from trainables.training.final_test import RunResult
from trainables.training.loop import Progress, train

INSTALLED = NNUNet().installed
needs_it = pytest.mark.skipif(not INSTALLED, reason="nnU-Net was not tested: make baselines")
RUN: dict[str, Any] = {
    "task": {"synthetic": {"size": 16, "cases": 4}},
    "model": {"nnunet": {"iterations": 3}},
    "mode": "feedforward",
    "train": {"steps": 6, "validate_every": 3},
}


def config(**changes: Any) -> Config:
    return parse({**RUN, **changes})


def finished(run: Any) -> tuple[list[Progress], RunResult]:
    seen: list[Progress] = []
    while True:
        try:
            seen.append(next(run))
        except StopIteration as end:
            return seen, end.value


def numbers(measured: RunResult) -> tuple[Any, ...]:
    """All that may not depend on how a run came to its end."""
    history = [{**row, "seconds": None} for row in measured.record.history]
    return history, vars(measured.rows), measured.parameters, measured.passes_per_image


@pytest.fixture(scope="module", autouse=True)
def _fewer_samples() -> Iterator[None]:
    """Its fingerprint draws 100 million pixels for statistics that no plan here looks at."""
    if not INSTALLED:
        yield
        return
    from nnunetv2.experiment_planning.dataset_fingerprint import (  # pyright: ignore
        fingerprint_extractor,
    )

    extractor = fingerprint_extractor.DatasetFingerprintExtractor
    made = extractor.__init__

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        self.num_foreground_voxels_for_intensitystats = 1e4

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(extractor, "__init__", init)
        yield


@pytest.fixture(scope="module")
def whole() -> RunResult:
    """An uninterrupted run."""
    torch.set_num_threads(1)
    return finished(train(config(), WorkerContext()))[1]


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    yield made
    made.close()


@needs_it
@pytest.mark.parametrize("task", ["synthetic", "histology", "brain"])
def test_it_reads_of_the_raw_data_what_we_have(task: str, workspace: Workspace) -> None:
    from nnunetv2.imageio.natural_image_reader_writer import (  # pyright: ignore
        NaturalImage2DIO,
    )

    made = config(task=task)
    data = prepared(made)
    names = raw_dataset.write(workspace.raw, made.task, "train", data.train)
    folder, reader = workspace.raw / raw_dataset.NAME, NaturalImage2DIO()
    for name, case in zip(names, data.train, strict=True):
        files = sorted(map(str, (folder / "imagesTr").glob(f"{name}_*.tif")))
        image, about = reader.read_images(files)
        assert about["spacing"] == raw_dataset.SPACING
        assert torch.equal(torch.from_numpy(image)[:, 0], case.pixels.float())
        labels, _ = reader.read_seg(str(folder / "labelsTr" / f"{name}.tif"))
        assert np.array_equal(labels[0, 0], case.labels.numpy())
    said = json.loads((folder / "dataset.json").read_text())
    assert list(said["labels"].values()) == list(range(len(made.task.classes)))
    assert len(said["channel_names"]) == made.task.channels
    assert said["numTraining"] == len(data.train)


def planned_here(made: Config, data: Prepared, workspace: Workspace) -> dict[str, Any]:
    with workspace.active(planning=True):
        return prepare(
            Run(made, WorkerContext(), data), cast("NNUNet", made.model), workspace
        ).plans


@needs_it
def test_it_has_as_many_parameters_as_the_network_that_its_plan_describes(
    whole: RunResult, workspace: Workspace
) -> None:
    from nnunetv2.utilities.get_network_from_plans import (  # pyright: ignore
        get_network_from_plans,
    )

    made = config()
    plans = planned_here(made, prepared(made), workspace)
    plan = plans["configurations"]["2d"]["architecture"]
    network = get_network_from_plans(
        plan["network_class_name"], plan["arch_kwargs"], plan["_kw_requires_import"], 1, 2
    )
    assert whole.parameters == sum(p.numel() for p in network.parameters())


@needs_it
@pytest.mark.parametrize("step", [3, 4])
def test_it_goes_on_from_any_step_to_the_same_numbers_and_does_no_epoch_twice(
    step: int, whole: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    run = train(config(), WorkerContext())
    checkpoint = next(progress.save() for progress in run if progress.step == step)
    run.close()
    seen, end = finished(train(config(), WorkerContext(), checkpoint))
    assert [progress.step for progress in seen] == list(range(step + 1, 7))
    assert numbers(end) == numbers(whole)
    log = {row["name"]: row["text"] for row in end.logs}["log"]
    assert [log.count(f": Epoch {epoch} ") for epoch in (0, 1, 2)] == [1, 1, 0]


@needs_it
def test_two_that_take_turns_see_nothing_of_each_other(whole: RunResult) -> None:
    other = config(task="brain", seed=1)
    runs = {"same": train(config(), WorkerContext()), "other": train(other, WorkerContext())}
    ends: dict[str, RunResult] = {}
    while runs:
        for name in list(runs):
            try:
                next(runs[name])
            except StopIteration as end:
                ends[name] = end.value
                del runs[name]
    assert numbers(ends["same"]) == numbers(whole)
    assert {row["class"] for row in ends["other"].rows.cases} == set(other.task.classes[1:])


@needs_it
def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("nnUNet_raw", "of the user's own")
    before, threads = dict(os.environ), torch.get_num_threads()
    run = train(config(), WorkerContext())
    for _ in range(2):
        next(run)
        assert dict(os.environ) == before
        assert len(list(tmp_path.iterdir())) == 1
    run.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="needs 5 training images, there are 4"):
        next(train(config(model={"nnunet": {"iterations": 3, "fold": 0}}), WorkerContext()))
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads
    assert capsys.readouterr() == ("", "")


@needs_it
def test_a_fold_trains_on_its_four_fifths() -> None:
    made = config(
        task={"synthetic": {"size": 16, "cases": 5}},
        model={"nnunet": {"iterations": 3, "fold": 1}},
    )
    training = NNUNetTrainer(Run(made, WorkerContext(), prepared(made)))
    trained, held_out = training.trainer.do_split()
    training.close()
    assert (len(trained), len(held_out)) == (4, 1)
    assert {name.partition("_")[0] for name in (*trained, *held_out)} == {"train"}


@needs_it
@pytest.mark.parametrize("task", ["synthetic", "brain"])
def test_probabilities_are_its_own_predictors_at_native_size(task: str) -> None:
    from nnunetv2.inference.predict_from_raw_data import (  # pyright: ignore
        nnUNetPredictor,
    )

    made = config(task=task)
    data = prepared(made)
    training = NNUNetTrainer(Run(made, WorkerContext(), data))
    training.advance()
    pixels = data.train[5 % len(data.train)].pixels[:, 1:16, 2:15]  # no multiple of anything
    with torch.no_grad():
        training.best.predict_image(pixels, 0.0)  # type: ignore[operator]
        passes = training.best.passes
        found = training.best.predict_image(pixels, 0.5)  # type: ignore[operator]
        assert training.best.passes > passes  # another overlap is another prediction
    trainer = training.trainer
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    parts = (trainer.plans_manager, trainer.configuration_manager)
    weights = [trainer.network.state_dict()]
    rest = (trainer.dataset_json, "nnUNetTrainer", trainer.inference_allowed_mirroring_axes)
    predictor.manual_initialization(trainer.network, *parts, weights, *rest)
    image = pixels.float().numpy()[:, None]
    _, p = predictor.predict_single_npy_array(
        image, {"spacing": raw_dataset.SPACING}, None, None, True
    )
    training.close()
    foreground = found if len(found) == 1 else found[1:]
    assert found.shape[1:] == (15, 13)
    assert np.array_equal(foreground.numpy(), p[1:, 0])


@needs_it
def test_a_record_says_what_it_took(ledger: Ledger) -> None:
    made = config(test={"controls": ["temperature"]})
    assert outcome_of(attempt(made, LedgerSink(ledger, "code"), WorkerContext())) == "finished"
    (trial,) = Snapshot(ledger.store).table("trials").to_pylist()
    assert json.loads(trial["packages"])["nnunetv2"]
    assert (trial["steps"], trial["best_step"], trial["passes_per_image"]) == (6, 6, 4)
    assert trial["train_seconds"] > 0
    assert trial["macs_per_pass"] > 0
    readings = {row["reading"] for row in Snapshot(ledger.store).table("cases").to_pylist()}
    assert readings == {"sample", "temperature"}
    texts = {row["name"]: row["text"] for row in Snapshot(ledger.store).table("logs").to_pylist()}
    assert json.loads(texts["plan"])["configurations"]["2d"]["batch_size"] == 2
    assert "Pseudo dice" in texts["log"]
    assert tempfile.gettempdir() not in texts["log"]
    losses = [
        row["loss_sum"] / row["loss_count"]
        for row in Snapshot(ledger.store).table("steps").to_pylist()
    ]
    assert losses[1] < losses[0]


@needs_it
def test_it_trains_with_one_worker() -> None:
    with pytest.raises(ValueError, match="model nnunet trains with one worker, not 2"):
        NNUNetTrainer(Run(config(), WorkerContext(world=2), prepared(config())))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train": {"steps": 6, "validate_every": 3, "batch": 8}},
            "train.batch=8 must be 16, its default: the library of model nnunet uses steps,",
        ),
        (
            {"train": {"steps": 7, "validate_every": 3}},
            "train.steps=7 must be a positive multiple of 3, the steps per epoch of model nnunet",
        ),
        ({"mode": {"feedforward": {"members": 2}}}, "must be 'feedforward' with its defaults"),
        ({"test": {"controls": ["dropped_image"]}}, "reads the images itself"),
        ({"model": {"nnunet": {"fold": 5}}}, "fold=5 must be 0..4, or null"),
        ({"model": {"nnunet": {"memory": 0}}}, "memory=0.0 must be positive, or null"),
    ],
)
def test_settings_that_it_would_ignore_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_without_the_library_choosing_it_is_one_line_and_the_rest_works(
    verb: str, inline: Segprint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    text = f"from search_spaces import *\nSPACE = Space(question='?', config={RUN!r})\n"
    (tmp_path / "mine.py").write_text(text)
    done = inline(verb, "./mine.py")
    assert done.returncode == 2
    assert done.stderr == (
        "segprint: model nnunet needs nnunetv2, which is not installed: make baselines\n"
    )
    assert inline("plan", "./mine.py").returncode == 0
    assert "nnunet" in inline("ls", "models").stdout
