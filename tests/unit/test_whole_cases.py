"""Every held-out pixel counts once: whole images, and volumes joined from their slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.trees import put, volume
from trainables.config import Config
from trainables.data import Prepared, prepare, prepared, wholes
from trainables.evaluation import evaluate
from trainables.evaluation.instances import objects
from trainables.evaluation.pictures import measure
from trainables.evaluation.predict import passes_per_image, patches
from trainables.models import Network
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.state import State

Small = Callable[..., Config]
SHAPE = (27, 21, 4)
"""No multiple of the training size: tiles would leave the last rows and columns out."""
SIDES = (0.5, 0.75, 3.0)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Ten volumes with one lesion over two slices, in the remainder that no tile has."""
    draws = np.random.default_rng(0)
    for i in range(10):
        mask = np.zeros(SHAPE, np.uint8)
        mask[22:27, 4:14, 1:3] = 1
        values = mask * 150 + draws.integers(0, 100, SHAPE)
        affine = np.diag([*SIDES, 1.0])
        put(tmp_path / "imagesTr" / f"v{i}_0000.nii.gz", volume(values.astype(np.int16), affine))
        put(tmp_path / "labelsTr" / f"v{i}.nii.gz", volume(mask, affine))
    return tmp_path


def config(small: Small, root: Path, **test: Any) -> Config:
    return small(
        task={"nifti": {"at": str(root), "size": 16}},
        model={"intensity": {"levels": 8}},
        mode="feedforward",
        train={"steps": 0},
        test=test,
        probe={"bins": 0},
    )


def fitted(config: Config) -> tuple[Prepared, Network]:
    data = prepared(config)
    return data, State(Run(config, WorkerContext(), data)).best


def totals(rows: list[Any]) -> dict[str, int]:
    return {k: sum(r[k] for r in rows) for k in ("tp", "fp", "fn", "tn")}


def test_by_default_a_volume_is_one_case_with_the_counts_of_all_its_voxels(
    small: Small, volumes: Path
) -> None:
    whole, slices = config(small, volumes), config(small, volumes, unit="images")
    assert whole.test.unit == "cases"
    data, network = fitted(whole)
    rows = evaluate.measure(Run(whole, WorkerContext(), data), network, "test")
    each = evaluate.measure(Run(slices, WorkerContext(), prepared(slices)), network, "test")
    assert [r["case"] for r in rows.cases] == wholes(data.test)
    assert len(each.cases) == SHAPE[2] * len(rows.cases)
    for row in rows.cases:
        mine = [r for r in each.cases if r["case"].startswith(f"{row['case']}/")]
        assert totals([row]) == totals(mine)
        assert sum(totals([row]).values()) == np.prod(SHAPE)
        assert row["tp"] + row["fn"] == 5 * 10 * 2
        assert row["objects"] == 1  # a lesion of two slices, each of which counts it
        assert sum(r["objects"] for r in mine) == 2

    def binned(rows: list[Any]) -> Mapping[int, int]:
        count = np.bincount([r["bin"] for r in rows], [r["count"] for r in rows])
        return {b: int(n) for b, n in enumerate(count) if n}

    read = [r for r in rows.calibration if r["reading"] == "sample"]
    assert binned(read) == binned([r for r in each.calibration if r["reading"] == "sample"])
    assert len({(r["case"], r["bin"]) for r in read}) == len(read)


def test_the_diversity_of_a_volume_is_that_of_its_voxels(small: Small, volumes: Path) -> None:
    whole = config(small, volumes)
    data, network = fitted(whole)
    rows = evaluate.measure(Run(whole, WorkerContext(), data), network, "test")
    for case, sample in zip(rows.cases, rows.samples, strict=True):
        union = case["tp"] + case["fp"] + case["fn"]
        assert sample["case"] == case["case"]
        assert sample["truth_iou_sum"] == pytest.approx(case["tp"] / union)


def test_the_surfaces_of_a_volume_are_measured_in_voxels_and_in_millimetres(
    small: Small, volumes: Path
) -> None:
    whole = config(small, volumes)
    data, network = fitted(whole)
    rows = evaluate.measure(Run(whole, WorkerContext(), data), network, "test").surfaces
    assert {r["case"] for r in rows} == set(wholes(data.test))
    for name in wholes(data.test):
        for unit in ("px", "mm"):
            mine = [r for r in rows if (r["case"], r["unit"]) == (name, unit)]
            assert sum(r["true_count"] for r in mine) == 5 * 10 * 2  # two slices: all is surface
            faces = np.ones(3) if unit == "px" else np.prod(SIDES) / np.array(SIDES)
            area = 2 * np.dot((10 * 2, 5 * 2, 5 * 10), faces)
            assert sum(r["true_area"] for r in mine) == pytest.approx(area)


def test_two_workers_share_whole_volumes(small: Small, volumes: Path) -> None:
    whole = config(small, volumes)
    data, network = fitted(whole)
    one = evaluate.measure(Run(whole, WorkerContext(), data), network, "test")
    two = [
        evaluate.measure(Run(whole, WorkerContext(r, 2), data), network, "test") for r in range(2)
    ]
    assert all(part.cases for part in two)
    by_case = sorted((row for part in two for row in part.cases), key=lambda r: r["case"])
    assert by_case == sorted(one.cases, key=lambda r: r["case"])


def test_validation_scores_a_volume_by_its_3d_dice(small: Small, volumes: Path) -> None:
    """A network that predicts nothing has Dice 0: each volume has a lesion."""
    whole = config(small, volumes)
    data, network = fitted(whole)
    run = Run(whole, WorkerContext(), data)
    rows = evaluate.measure(run, network, "val")
    dice = [2 * r["tp"] / (2 * r["tp"] + r["fp"] + r["fn"]) for r in rows.cases]
    assert evaluate.score(run, network)[:, 0].tolist() == pytest.approx(dice)
    nothing = config(small, volumes).model.__class__(levels=1).build(whole.ports)
    nothing.fit(*data.training_tiles())
    assert evaluate.score(run, nothing.eval()).max() == 0
    tiled = config(small, volumes, unit="tiles")
    tiles = evaluate.score(Run(tiled, WorkerContext(), prepared(tiled)), nothing.eval())
    assert tiles.min() == 1  # the lesion is in no tile


def test_validation_during_training_reads_whole_cases_with_as_few_windows_as_cover_them(
    small: Small, volumes: Path
) -> None:
    whole = config(small, volumes, overlap=0.75)
    (training,) = whole.trainings
    assert training.test.unit == "cases"
    data = prepared(training)
    windows = -(-SHAPE[0] // 16) * -(-SHAPE[1] // 16)
    assert patches(training, data.val) == len(data.val) * windows
    assert patches(whole, data.val) > len(data.val) * windows
    assert passes_per_image(training) == windows * SHAPE[2]


def test_the_picture_of_a_volume_is_its_slice_with_most_foreground(
    small: Small, volumes: Path
) -> None:
    whole = config(small, volumes, pictures=2)
    data, network = fitted(whole)
    rows = measure(Run(whole, WorkerContext(), data), network)
    assert {r["case"] for r in rows.pictures} == {f"{name}/z0001" for name in wholes(data.test)[:2]}


def test_objects_of_a_volume_are_connected_over_slices() -> None:
    mask = torch.from_numpy(np.random.default_rng(0).random((4, 6, 6)) > 0.6)
    assert objects(mask) == ndimage.label(mask.numpy())[1]


def test_the_spacing_of_a_slice_is_that_of_its_volume(small: Small, volumes: Path) -> None:
    """x runs along the columns of an axial slice, y along its rows."""
    (case, *_) = prepared(config(small, volumes)).test
    assert case.labels.shape == (SHAPE[1], SHAPE[0])
    assert case.spacing == pytest.approx((SIDES[2], SIDES[1], SIDES[0]))
    thinned = small(task={"nifti": {"at": str(volumes), "size": 16, "every": 2}}).task
    assert prepare(thinned, "cases").test[0].spacing == pytest.approx((6.0, 0.75, 0.5))
    uneven = small(task={"nifti": {"at": str(volumes), "size": 16, "empty": False}}).task
    spacing = prepare(uneven, "cases").test[0].spacing
    assert spacing is not None
    assert spacing[0] == 0
