"""Predictions on new files: masks in the image's own size, spacing and orientation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
import torch

import orchestrator
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.ledger.weights import weights_key
from orchestrator.prediction.outputs import Outputs
from orchestrator.storage.object_store import Store
from tests.conftest import Segprint
from trainables.config import Config
from trainables.data import prepare
from trainables.evaluation.predict import predictions
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt, outcome_of
from trainables.training.trained_model import Segmentation

Small = Callable[..., Config]
STEPS = {"steps": 2, "batch": 2, "validate_every": 2}


@pytest.fixture
def store(tmp_path: Path) -> Ledger:
    return Ledger(Store(str(tmp_path / "results")))


def trained(small: Small, store: Ledger, **changes: Any) -> Config:
    """A committed trial; by default of the grey-level table: bright pixels are nuclei."""
    grey = {"model": "intensity", "mode": "feedforward", "train": {"steps": 0}}
    config = small(**{"task": {"nuclei": {"size": 32}}, **(changes or grey)})
    assert outcome_of(attempt(config, LedgerSink(store, "c"), WorkerContext())) == "finished"
    return config


def square(side: int, values: tuple[int, int] = (3, 10), corner: int = 8) -> np.ndarray:
    """A dark image with a bright square whose top left corner is given."""
    image = np.full((side, side), values[0], np.uint8)
    image[corner : corner + side // 3, corner : corner + side // 3] = values[1]
    return image


def opened(path: Path) -> np.ndarray:
    """The pixels of an image."""
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def test_the_loaded_model_predicts_as_the_trial_did(small: Small, store: Ledger) -> None:
    config = trained(
        small, store, train=STEPS, mode={"diffusion": {"sampler": {"ddim": {"steps": 2}}}}
    )
    model = orchestrator.load(config.digest(), store.store.url)
    assert isinstance(model, torch.nn.Module)
    data = prepare(config.task, config.test.unit)
    case = data.test[0]
    run = Run(config, WorkerContext(), data)
    ((_, expected),) = predictions(run, model.network, [case], [0])
    from trainables.training.trained_model import Input

    torch.backends.cudnn.allow_tf32 = True  # as in a new process
    found = model.segment(Input(case.name, case.pixels.numpy()))
    assert not torch.backends.cudnn.allow_tf32  # the precision of the training
    assert np.array_equal(found.probabilities[1], expected.members.mean(1)[0, 0].numpy())
    again = model.predict([case.pixels.numpy(), case.pixels.numpy()])
    assert np.array_equal(again[0].labels, again[0].probabilities.argmax(0))
    assert again[0].probabilities.sum(0) == pytest.approx(1.0)


def test_masks_have_the_size_of_their_images_and_lie_where_the_objects_do(
    small: Small, store: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    config = trained(small, store)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    sizes = {"a": 40, "deep/b": 97}
    for name, side in sizes.items():
        PIL.Image.fromarray(square(side)).save(tmp_path / "in" / f"{name}.png")
    ended = inline("predict", config.digest(), "in", "-o", "out")
    assert ended.returncode == 0, ended.stderr
    for name, side in sizes.items():
        with PIL.Image.open(tmp_path / "out" / "masks" / f"{name}.png") as mask:
            assert mask.mode == "P"
        labels, truth = opened(tmp_path / "out" / "masks" / f"{name}.png"), square(side) > 5
        assert labels.shape == (side, side)
        assert (labels[truth] == 1).mean() > 0.6
        assert (labels[~truth] == 1).mean() < 0.1
        p = opened(tmp_path / "out" / "probabilities" / f"{name}_nucleus.png")
        assert p.dtype == np.uint16
        assert np.array_equal(p > 2**15 - 1, labels == 1)
        assert opened(tmp_path / "out" / "uncertainty" / f"{name}.png").shape == (side, side)
        record = json.loads((tmp_path / "out" / "records" / f"{name}.json").read_text())
        assert record["shares"]["nucleus"] == pytest.approx(labels.mean(), abs=1e-6)
    with PIL.Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.size[0] > 300


def test_a_second_call_predicts_only_what_is_missing_or_changed(
    small: Small, store: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    config = trained(small, store)
    for name in "ab":
        PIL.Image.fromarray(square(40)).save(tmp_path / f"{name}.png")
    masks = tmp_path / "out" / "masks"
    assert inline("predict", config.digest(), "a.png", "-o", "out").returncode == 0
    (masks / "a.png").write_bytes(b"mine")
    again = inline("predict", config.digest(), "a.png", "b.png", "-o", "out")
    assert (masks / "a.png").read_bytes() == b"mine"
    assert (masks / "b.png").exists()
    assert "predicted before" in again.stderr
    PIL.Image.fromarray(square(41)).save(tmp_path / "a.png")
    inline("predict", config.digest(), "a.png", "-o", "out")
    assert opened(masks / "a.png").shape == (41, 41)
    (masks / "a.png").unlink()
    once_more = inline("predict", config.digest(), "a.png", "-o", "out")
    assert "predicted before" not in once_more.stderr
    assert opened(masks / "a.png").shape == (41, 41)
    tested = inline("predict", config.digest(), "nuclei", "-o", "out")
    assert tested.returncode == 0, tested.stderr
    assert opened(masks / "nuclei" / "dsb-test.png").shape == (512, 128)


def test_a_file_that_was_deleted_from_the_folder_is_written_again(
    small: Small, store: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    config = trained(small, store)
    PIL.Image.fromarray(square(40)).save(tmp_path / "a.png")
    volume = np.stack([square(40, corner=8 + z) for z in range(3)], 2)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "scan.nii.gz")  # pyright: ignore
    command = ("predict", config.digest(), "a.png", "scan.nii.gz", "-o", "out")
    inline(*command)
    written = sorted((tmp_path / "out").glob("*/*.png"))
    written += sorted((tmp_path / "out").glob("*/*.gz"))
    assert len(written) == 6
    for file in written:
        file.unlink()
        again = inline(*command)
        assert again.stderr.count("predicted before") == 1
        assert file.is_file()


def test_the_contact_sheet_of_a_second_call_shows_the_images_of_the_first(
    small: Small, store: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    config = trained(small, store)
    for i, name in enumerate("abc"):
        PIL.Image.fromarray(square(40, corner=8 + i)).save(tmp_path / f"{name}.png")
    volume = np.stack([square(40, corner=8 + z) for z in range(3)], 2)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "scan.nii.gz")  # pyright: ignore
    files = ["a.png", "b.png", "scan.nii.gz", "c.png"]
    inline("predict", config.digest(), *files, "-o", "whole")
    inline("predict", config.digest(), *files[:3], "-o", "out")
    again = inline("predict", config.digest(), *files, "-o", "out")
    assert again.stderr.count("predicted before") == 3
    assert np.array_equal(opened(tmp_path / "out/sheet.png"), opened(tmp_path / "whole/sheet.png"))


def test_bad_images_are_named_and_skipped(
    small: Small, store: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    config = trained(small, store)
    PIL.Image.fromarray(square(40)).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    PIL.Image.fromarray(np.full((40, 40, 2), 4, np.uint8), "LA").save(tmp_path / "alpha.png")
    PIL.Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "notes.txt").write_text("not an image")
    ended = inline("predict", config.digest(), *map(str, tmp_path.glob("*.*")), "-o", "out")
    assert ended.returncode == 1
    lines = {
        line.split()[3].rstrip(":"): line for line in ended.stderr.splitlines() if " of " in line
    }
    assert "skipped: is no image that can be read" in lines["broken"]
    assert "has a mean of 4000, the training images have 5.573 ± 1.869" in lines["deep"]
    assert "is not an image (choices: .png" in lines["notes.txt"]
    assert "skipped" not in lines["good"]
    assert sorted(p.name for p in (tmp_path / "out" / "masks").iterdir()) == [
        "alpha.png",
        "good.png",
    ]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA"])
def test_a_volume_keeps_its_grid_in_whichever_orientation_it_is_stored(
    small: Small, store: Ledger, inline: Segprint, tmp_path: Path, axes: str
) -> None:
    config = trained(small, store)
    canonical = np.stack([square(40, corner=8 + z) for z in range(6)], 2)  # differs along each axis
    affine = np.diag([0.7, 0.8, 3.0, 1.0])
    affine[:3, 3] = (5, -7, 11)
    orientations: Any = nibabel.orientations
    image: Any = nibabel.Nifti1Image(canonical, affine)
    turn = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(axes)
    )
    image = image.as_reoriented(turn)
    nibabel.save(image, tmp_path / "scan.nii.gz")  # pyright: ignore
    ended = inline("predict", config.digest(), "scan.nii.gz", "-o", "out")
    assert ended.returncode == 0, ended.stderr
    mask: Any = nibabel.load(tmp_path / "out" / "masks" / "scan.nii.gz")  # pyright: ignore
    assert mask.shape == image.shape
    assert np.allclose(mask.affine, image.affine)
    assert mask.header.get_zooms() == pytest.approx(image.header.get_zooms())
    labels, truth = np.asarray(mask.dataobj), np.asarray(image.dataobj) > 5
    assert (labels[truth] == 1).mean() > 0.6
    assert (labels[~truth] == 1).mean() < 0.1
    p: Any = nibabel.load(  # pyright: ignore
        tmp_path / "out" / "probabilities" / "scan_nucleus.nii.gz"
    )
    assert np.array_equal(np.asarray(p.dataobj) > 0.5, labels == 1)


def test_what_cannot_predict_says_why(
    small: Small, store: Ledger, inline: Segprint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained(small, store, train=STEPS, mode="feedforward")
    PIL.Image.fromarray(square(40)).save(tmp_path / "a.png")

    def refused(what: str, image: str = "a.png") -> str:
        ended = inline("predict", what, image, "-o", "out")
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        return line

    assert "no finished trial" in refused("0123456789abcdef")
    assert "must be a digest or STUDY/ARM" in refused("nothing/here")
    assert "there is no such file" in refused(config.digest(), "missing.png")
    with monkeypatch.context() as patch:
        patch.setattr(type(config.model), "version", 99)
        assert "version 1 of models/ensemdiff, this code has version 99" in refused(config.digest())
    (training,) = config.training_digests
    kept = store.weights.load(training)
    assert kept is not None
    key = weights_key(training, kept.sha256)
    store.store.put(key, kept.tensors[:-4])
    assert f"weights {kept.sha256[:16]}" in refused(config.digest())
    store.weights.delete(training)
    assert "are not kept; `segprint evaluate STUDY --on DATASET --train`" in refused(
        config.digest()
    )


def test_classes_whose_names_differ_in_signs_only_have_files_of_their_own(tmp_path: Path) -> None:
    found = Segmentation(
        labels=np.zeros((4, 4), np.uint8),
        probabilities=np.stack([np.full((4, 4), p, np.float32) for p in (0.1, 0.2, 0.3, 0.4)]),
        uncertainty=np.zeros((4, 4), np.float32),
    )
    Outputs(tmp_path, ["background", "HER2+", "HER2-", "masks"]).write_image("a", found)
    written = {
        path.name: opened(path).max() / 65535 for path in (tmp_path / "probabilities").iterdir()
    }
    assert written == {
        "a_HER2--1.png": pytest.approx(0.2, abs=1e-4),
        "a_HER2--2.png": pytest.approx(0.3, abs=1e-4),
        "a_masks.png": pytest.approx(0.4, abs=1e-4),
    }
