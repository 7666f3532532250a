"""The numbers in masks: the class of each, and those of pixels to be ignored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tifffile
import torch

from orchestrator import cli
from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import Array, folder
from tests.trees import png, put
from tests.unit.test_ignore import config
from trainables.config import parse
from trainables.data import prepare, tiles
from trainables.datasets import Problem, Source
from trainables.datasets.nifti import NIfTI
from trainables.decoding.cache import forget, load
from trainables.labels import IGNORE
from trainables.nnunet import raw_dataset
from trainables.part import Location
from trainables.runtime.worker_context import WorkerContext
from trainables.training.final_test import RunResult
from trainables.training.loop import train

VALUES = ((0, "background"), (2, "liver"), (5, "vessel"), (7, "liver"), (255, "ignore"))


def numbers(i: int) -> Array:
    """A mask of the numbers 0, 2, 5 and 7, with 255 around a quarter of it."""
    found = np.array([0, 2, 5, 7], np.uint8)[trees.blobs(32, 40, 3, i, 0.25)]
    found[:, 30:] = 255
    return found


def written(root: Path, cases: int = 8) -> Path:
    for i in range(cases):
        put(root / "images" / f"{i}.png", png(trees.photo(trees.blobs(32, 40, 3, i, 0.25), i)))
        put(root / "masks" / f"{i}.png", png(numbers(i)))
    return root


def test_numbers_become_the_classes_of_their_names(tmp_path: Path) -> None:
    dataset = folder(written(tmp_path), values=VALUES)
    assert dataset.classes == ("background", "liver", "vessel")
    for source in (s for s in dataset.scan() if isinstance(s, Source)):
        table = np.zeros(256, np.uint8)
        table[[2, 5, 7, 255]] = 1, 2, 1, IGNORE
        np.testing.assert_array_equal(source.read().labels, table[numbers(int(source.name))])
    loaded = load(dataset)
    for split, pixels in loaded.pixels.items():
        shown = [numbers(int(i.name)) for i in loaded.images if i.split == split]
        wanted = [sum(int(np.isin(m, v).sum()) for m in shown) for v in ([0], [2, 7], [5])]
        assert pixels == wanted
    assert all(IGNORE not in i.points[:, 0] for i in loaded.images)
    (train_row, *_) = walk(dataset).splits
    assert "ignored 0.250" in train_row["prevalence"]


def test_which_ignored_number_a_mask_has_changes_no_digest(tmp_path: Path) -> None:
    values = (*VALUES[:-1], (200, "ignore"), (255, "ignore"))
    hashes: list[str] = []
    for name, number in (("a", 255), ("b", 200)):
        written(tmp_path / name)
        for i in range(8):
            mask = numbers(i)
            mask[mask == 255] = number
            put(tmp_path / name / "masks" / f"{i}.png", png(mask))
        hashes.append(load(folder(tmp_path / name, values=values)).content_hash)
    assert hashes[0] == hashes[1]


def test_numbers_without_a_class_are_refused_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    given = 'values={"0": "background", "2": "liver", "255": "ignore"}'
    assert cli.main(["data", "check", str(tmp_path), "--set", given]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "has mask values 5, 7 that stand for no class" in shown
    assert "the classes are 0 background, 2 liver, 255 ignore" in shown


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"0": "background", "255": "ignore"}, "must name two classes or more"),
        ({"0": "background", "x": "liver"}, "'x' must be a whole number"),
        ({"0": "background", "2": 3}, "values.2: 3 must be str"),
        ([0, 2], r"\[0, 2\] must be a mapping such as"),
        ({"0": "background", "2": ""}, "no class with an empty name"),
    ],
)
def test_a_map_that_means_nothing_is_refused(tmp_path: Path, values: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        parse({"task": {"folder": {"at": str(tmp_path), "values": values}}, **REST})


REST: dict[str, Any] = {"model": "intensity", "mode": "feedforward", "train": {"steps": 0}}


def test_a_map_names_the_classes_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names the classes: leave out foreground, background"):
        folder(tmp_path, values=VALUES, foreground=("liver",), background="rest")


def test_a_palette_of_black_and_white_with_two_readings_is_refused(tmp_path: Path) -> None:
    import PIL.Image

    written(tmp_path)
    mask = PIL.Image.fromarray((numbers(0) == 2).astype(np.uint8), "P")
    mask.putpalette([0, 0, 0, 255, 255, 255])
    mask.save(tmp_path / "masks" / "0.png")
    both = ((0, "background"), (1, "liver"), (255, "ignore"))
    rules = [p.rule for p in walk(folder(tmp_path, values=both)).problems]
    assert any("its indices and its colours are both in values= and differ" in r for r in rules)


def test_masks_whose_foreground_may_be_ignored_are_named(tmp_path: Path) -> None:
    written(tmp_path)
    for i in range(3):
        put(tmp_path / "masks" / f"{i}.png", png((numbers(i) == 2).astype(np.uint8) * 255))
    put(tmp_path / "masks" / "4.png", png(np.full((32, 40), 255, np.uint8)))
    rules = [p.rule for p in walk(folder(tmp_path, values=VALUES)).problems]
    assert any("3 masks with pixels to be ignored and no foreground" in r for r in rules)
    assert any("masks have no pixel that counts, such as images/4.png" in r for r in rules)


def test_a_folder_of_ignored_pixels_joins_those_of_the_classes(tmp_path: Path) -> None:
    for i in range(5):
        put(tmp_path / "images" / f"{i}.png", png(trees.photo(trees.blobs(24, 28, 2, i), i)))
        for name, k in (("vessel", 1), ("7", 2)):
            put(tmp_path / "masks" / name / f"{i}.png", png(trees.blobs(24, 28, 2, i) == k))
        edge = np.zeros((24, 28), bool)
        edge[:, :3] = True
        put(tmp_path / "masks" / "ignore" / f"{i}.png", png(edge))
    found = [s for s in folder(tmp_path, values=VALUES).scan() if isinstance(s, Source)]
    assert len(found) == 5
    for source in found:
        wanted = np.array([0, 2, 1], np.uint8)[trees.blobs(24, 28, 2, int(source.name))]
        wanted[:, :3] = IGNORE
        np.testing.assert_array_equal(source.read().labels, wanted)


def test_volumes_are_mapped_as_a_whole_and_slices_of_ignored_voxels_are_empty(
    tmp_path: Path,
) -> None:
    labels = np.zeros((20, 22, 6), np.int16)
    labels[4:9, 5:12, 1] = 2
    labels[4:9, 5:12, 2] = 255
    labels[12:15, 5:12, 3:5] = 5
    for i in range(5):
        image = (labels * 30 + i).astype(np.int16)
        put(tmp_path / "images" / f"p{i}.nii.gz", trees.volume(image))
        put(tmp_path / "masks" / f"p{i}.nii.gz", trees.volume(labels))
    dataset = NIfTI(at=Location(str(tmp_path)), values=VALUES, empty=False)
    items = list(dataset.scan())
    assert not [i for i in items if isinstance(i, Problem) and i.fatal]
    mine = [s for s in items if isinstance(s, Source) and s.name.startswith("p0/")]
    assert [s.name for s in mine] == ["p0/z0001", "p0/z0003", "p0/z0004"]
    np.testing.assert_array_equal(mine[0].read().labels, np.rot90(labels[..., 1] == 2))


def test_a_volume_of_one_and_255_is_not_read_slice_by_slice(tmp_path: Path) -> None:
    """0 and 255 are a mask of two classes, but not where the same volume has a 1."""
    labels = np.zeros((20, 22, 6), np.uint8)
    labels[4:9, 5:12, 1], labels[4:9, 5:12, 3] = 1, 255
    for i in range(5):
        put(tmp_path / "images" / f"p{i}.nii.gz", trees.volume((labels + i).astype(np.int16)))
        put(tmp_path / "masks" / f"p{i}.nii.gz", trees.volume(labels))
    rules = {p.rule for p in walk(NIfTI(at=Location(str(tmp_path)))).problems}
    assert any("has mask values 255 that stand for no class" in rule for rule in rules)


def test_tiles_and_images_without_a_pixel_that_counts_are_left_out(tmp_path: Path) -> None:
    written(tmp_path)
    dataset = dataclasses.replace(folder(tmp_path, values=VALUES), size=16)
    wide = prepare(dataset, "images").train[0]
    held_out = [i.name for i in load(dataset).images if i.split != "train"]
    put(tmp_path / "masks" / f"{held_out[-1]}.png", png(np.full((32, 40), 255, np.uint8)))
    forget()
    for unit in ("images", "tiles"):
        data = prepare(dataset, unit)
        names = {c.name.partition("/")[0] for c in (*data.val, *data.test)}
        assert names == set(held_out[:-1])
    wide = dataclasses.replace(wide, labels=torch.full_like(wide.labels, IGNORE))
    assert tiles([wide], 16) == []


def test_a_split_of_which_every_pixel_is_ignored_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    for image in load(folder(tmp_path, values=VALUES)).images:
        if image.split == "val":
            mask = np.full((32, 40), 255, np.uint8)
            put(tmp_path / "masks" / f"{image.name}.png", png(mask))
    with pytest.raises(ValueError, match="every pixel of split val is ignored"):
        load(folder(tmp_path, values=VALUES, longest=39))


def test_nnunet_has_its_own_label_for_them(tmp_path: Path) -> None:
    dataset = folder(written(tmp_path / "set"), values=VALUES)
    labels = raw_dataset.description(dataset, 1)["labels"]
    assert labels == {"background": 0, "class_liver": 1, "class_vessel": 2, "ignore": 3}
    case = prepare(dataset, "images").train[0]
    raw_dataset.write(tmp_path / "raw", dataset, "train", [case])
    (stored,) = (tmp_path / "raw").rglob("labelsTr/*.tif")
    wanted = np.array([0, 0, 1, 0, 0, 2, 0, 1] + 247 * [0] + [3])[numbers(int(case.name))]
    np.testing.assert_array_equal(np.squeeze(tifffile.imread(stored)), wanted)


@pytest.mark.parametrize("longest", [0, 24])
def test_a_run_counts_the_pixels_that_numpy_counts(tmp_path: Path, longest: int) -> None:
    written(tmp_path)
    names = {str(number): name for number, name in VALUES}
    task = {"at": str(tmp_path), "size": 16, "values": names, "longest": longest}
    mode = {"diffusion": {"sampler": {"ddim": {"steps": 2}}}}
    wanted = config(
        tmp_path,
        mode,
        task={"folder": task},
        train={
            "steps": 4,
            "batch": 4,
            "validate_every": 2,
            "foreground": 0.5,
            "augment": {"rotate": 30.0},
        },
        test={"unit": "images", "controls": ["temperature", "shuffled_image"], "pictures": 1},
    )
    run = train(wanted, WorkerContext())
    try:
        while True:
            next(run)
    except StopIteration as end:
        result = cast("RunResult", end.value)
    test = [i for i in load(wanted.task).images if i.split == "test"]
    for row in result.rows.cases:
        mask = numbers(int(row["case"])) if row["split"] == "test" else None
        if mask is not None:
            counted = int((mask != 255).sum())
            of_class = int(np.isin(mask, [2, 7] if row["class"] == "liver" else [5]).sum())
            assert row["tp"] + row["fn"] == of_class
            assert sum(row[k] for k in ("tp", "fp", "fn", "tn")) == counted
    for reading in ("sample", "temperature", "shuffled_image"):
        bins = [r for r in result.rows.calibration if r["reading"] == reading]
        pixels = sum(r["count"] for r in bins if r["split"] == "test" and r["class"] == "liver")
        assert pixels == sum(int((numbers(int(i.name)) != 255).sum()) for i in test)
    assert all(step["loss_sum"] is None or step["loss_sum"] > 0 for step in result.record.history)


def test_masks_of_1_among_masks_of_white_are_named(tmp_path: Path) -> None:
    """Each is a mask of two classes, but 255 may be what the others do not have: ignored pixels."""
    for i in range(8):
        labels = (trees.blobs(32, 40, 1, i) > 0).astype(np.uint8)
        put(tmp_path / "images" / f"{i}.png", png(trees.photo(labels, i)))
        put(tmp_path / "masks" / f"{i}.png", png(labels * np.uint8(255 if i == 6 else 1)))
    rules = [p.rule for p in walk(folder(tmp_path)).problems]
    assert any(
        "foreground is 1 in 7 masks" in r and "white in 1, such as images/6.png" in r for r in rules
    )
    put(tmp_path / "masks" / "6.png", png(trees.blobs(32, 40, 1, 6) > 0))  # of one bit
    assert not any("white" in p.rule for p in walk(folder(tmp_path)).problems)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_class_that_is_interpolated_between_two_others_is_named(
    tmp_path: Path, wrong: bool
) -> None:
    import PIL.Image

    for i in range(6):
        labels = np.array([0, 2, 1, 2], np.uint8)[trees.blobs(16, 20, 3, i, 0.3)]
        labels = np.where(labels == 1, 0, labels) if wrong else labels
        how = PIL.Image.Resampling.BILINEAR if wrong else PIL.Image.Resampling.NEAREST
        mask = np.asarray(PIL.Image.fromarray(labels).resize((40, 32), how))
        put(tmp_path / "images" / f"{i}.png", png(trees.photo(mask > 0, i)))
        put(tmp_path / "masks" / f"{i}.png", png(mask))
    rules = [p.rule for p in walk(folder(tmp_path, foreground=("a", "b"))).problems]
    assert any("were labels interpolated" in rule for rule in rules) == wrong


def test_masks_without_background_are_named(tmp_path: Path) -> None:
    """Numbers 1 and 2 for background and foreground are read as the classes a and b."""
    for i in range(6):
        labels = (trees.blobs(32, 40, 1, i) > 0).astype(np.uint8) + 1
        put(tmp_path / "images" / f"{i}.png", png(trees.photo(labels == 2, i)))
        put(tmp_path / "masks" / f"{i}.png", png(labels.astype(np.uint8)))
    rules = [p.rule for p in walk(folder(tmp_path, foreground=("a", "b"))).problems]
    assert "no mask has a pixel of background: do its numbers begin at 0?" in rules
