"""Several annotators: their folders, what is trained on, and the metrics of their masks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from orchestrator.diagnostics.dataset_check import walk
from tests.broken import folder
from tests.trees import png, put, volume
from trainables import batches
from trainables.config import Config
from trainables.data import Prepared, prepared
from trainables.datasets import Located, Problem, Raster, Source
from trainables.datasets.nifti import NIfTI
from trainables.evaluation import evaluate
from trainables.metrics import Metric
from trainables.parsing import parse_part
from trainables.part import Location
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.state import State

Small = Callable[..., Config]
SIDE = 16
RADII = (3, 5, 7)
"""The radii of the nested discs that three annotators draw."""


def disc(radius: int) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - 8) ** 2 + (columns - 8) ** 2 <= radius**2).astype(np.uint8)


def write(root: Path, pattern: str, names: tuple[str, ...], cases: int = 5) -> None:
    """Images of a bright disc, with a mask of each annotator at the pattern's place."""
    for i in range(cases):
        put(root / "images" / f"c{i}.png", png(disc(5) * 200 + np.uint8(i)))
        for name, radius in zip(names, RADII, strict=False):
            path = root / pattern.format(annotator=name, case=f"c{i}")
            put(path, png(disc(radius) * 255))


def scanned(dataset: Located) -> tuple[dict[str, Raster], list[Problem]]:
    items = list(dataset.scan())
    rasters = {i.name: i.read() for i in items if isinstance(i, Source)}
    return rasters, [i for i in items if isinstance(i, Problem)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("masks_{annotator}/{case}.png", ("1", "2", "3")),
        ("Masks-{annotator}/{case}.png", ("1", "2", "10")),
        ("masks/rater{annotator}/{case}.png", ("rater1", "rater2", "rater10")),
        ("labels/{annotator}/{case}.png", ("Expert_a", "Expert_b", "Expert_c")),
        ("{annotator}/masks/{case}.png", ("reader 1", "reader 2", "reader 3")),
    ],
)
def test_a_folder_of_masks_per_annotator_is_read_in_order(
    tmp_path: Path, pattern: str, names: tuple[str, ...]
) -> None:
    write(tmp_path, pattern.replace("rater{", "{"), names)
    rasters, problems = scanned(folder(tmp_path))
    assert len(rasters) == 5
    for raster in rasters.values():
        assert raster.annotators == names
        assert raster.annotations is not None
        assert [int(m.sum()) for m in raster.annotations] == [int(disc(r).sum()) for r in RADII]
        assert (raster.labels == disc(5)).all()  # two of three marked it
    (note,) = problems
    assert not note.fatal
    assert "those of 5 images are read as one annotator each" in note.rule


def test_half_of_the_votes_are_no_majority(tmp_path: Path) -> None:
    write(tmp_path, "masks_{annotator}/{case}.png", ("1", "2"))
    rasters, _ = scanned(folder(tmp_path))
    assert all((r.labels == disc(3)).all() for r in rasters.values())


def test_splits_hold_for_the_folders_of_annotators(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path / split, "masks_{annotator}/{case}.png", ("1", "2", "3"), cases=2)
    items = [i for i in folder(tmp_path).scan() if isinstance(i, Source)]
    assert {i.split for i in items} == {"train", "val", "test"}
    assert all(i.read().annotators == ("1", "2", "3") for i in items)


def test_one_folder_of_a_number_is_an_ordinary_folder_of_masks(tmp_path: Path) -> None:
    write(tmp_path, "masks_{annotator}/{case}.png", ("1",))
    rasters, problems = scanned(folder(tmp_path))
    assert not problems
    assert all(r.annotations is None for r in rasters.values())


def test_an_ordinary_mask_comes_first_and_the_others_are_named(tmp_path: Path) -> None:
    write(tmp_path, "masks_{annotator}/{case}.png", ("1", "2", "3"))
    for i in range(5):
        put(tmp_path / "masks" / f"c{i}.png", png(disc(2) * 255))
    rasters, problems = scanned(folder(tmp_path))
    assert all(r.annotations is None for r in rasters.values())
    assert all((r.labels == disc(2)).all() for r in rasters.values())
    assert [p.file for p in problems] == ["masks_1/c0.png"]
    assert "not read" in problems[0].rule


def fatal(dataset: Located) -> list[str]:
    return [str(p) for p in walk(dataset).problems if p.fatal]


def test_an_image_with_another_number_of_annotators_is_named_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, "masks_{annotator}/{case}.png", ("1", "2", "3"))
    (tmp_path / "masks_2" / "c3.png").unlink()
    assert fatal(folder(tmp_path)) == [
        "masks_1/c3.png: is of an image with masks of 2 annotators (1, 3); other images have 3"
        " annotators (1, 2, 3)"
    ]


def test_an_annotators_mask_of_another_size_is_named_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, "masks_{annotator}/{case}.png", ("1", "2", "3"))
    put(tmp_path / "masks_2" / "c3.png", png(disc(3)[:-1] * 255))
    assert fatal(folder(tmp_path)) == [
        "images/c3.png: is 16 x 16 pixels but its mask masks_2/c3.png is 16 x 15"
    ]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"annotations": np.zeros((2, 4, 4), np.uint8)}, r"annotations of shape \(2, 4, 4\)"),
        ({"annotations": np.full((2, 8, 8), 3, np.uint8)}, "an annotation of label 3"),
        ({"annotators": ("a", "b", "c")}, "2 annotations but the annotators"),
        ({"annotations": None, "annotators": ("a",)}, "1 annotators but has no annotations"),
    ],
)
def test_what_a_reader_gives_is_checked(change: dict[str, Any], rule: str) -> None:
    from trainables.decoding.rules import fault

    two = Raster(
        np.zeros((1, 8, 8), np.uint8),
        np.zeros((8, 8), np.uint8),
        annotations=np.zeros((2, 8, 8), np.uint8),
    )
    dataset = cast("Located", parse_part("datasets", "nifti"))
    assert fault(dataset, two) is None
    found = fault(dataset, two._replace(**change))
    assert found is not None
    import re

    assert re.search(rule, found)


def test_volumes_have_annotators_too(tmp_path: Path) -> None:
    shapes = [np.stack([disc(r) * (1 <= z < 3) for z in range(4)], 2) for r in RADII]
    for i in range(5):
        values = (shapes[1] * 100).astype(np.int16)
        put(tmp_path / "images" / f"v{i}.nii.gz", volume(values))
        for k, shape in enumerate(shapes, start=1):
            put(tmp_path / f"masks_{k}" / f"v{i}.nii.gz", volume(shape))
    rasters, _ = scanned(NIfTI(at=Location(tmp_path)))
    assert len(rasters) == 5 * 4
    for raster in rasters.values():
        assert raster.annotations is not None
        assert raster.annotations.shape == (3, SIDE, SIDE)
        assert (raster.labels == raster.annotations[1]).all()


@pytest.fixture
def annotated(small: Small, tmp_path: Path) -> Callable[..., Config]:
    """Configs for images of 16 pixels with the discs of three annotators."""
    write(tmp_path, "masks_{annotator}/{case}.png", ("1", "2", "3"), cases=8)

    def make(**changes: Any) -> Config:
        task = {"folder": {"at": str(tmp_path), "size": SIDE, "colour": False}}
        return small(**{"task": task, "probe": {"bins": 0}, **changes})

    return make


def drawn(config: Config, steps: int, world: int = 1) -> list[int]:
    """The areas of the masks in the batches of some steps, of all workers in order."""
    data, areas = prepared(config), list[int]()
    for step in range(steps):
        shares = [
            batches.draw(Run(config, WorkerContext(rank, world), data), step).labels_BHW
            for rank in range(world)
        ]
        labels = torch.stack([y for share in zip(*shares, strict=True) for y in share])
        areas += labels.sum((1, 2)).tolist()
    return areas


def test_each_crop_has_the_mask_of_a_drawn_annotator(annotated: Callable[..., Config]) -> None:
    config = annotated(train={"steps": 1, "batch": 60})
    areas = drawn(config, steps=5)
    counts = [areas.count(int(disc(r).sum())) for r in RADII]
    assert sum(counts) == 300  # no mask is a mixture
    # Multinomial(300, 1/3): five standard deviations are 41.
    assert all(abs(count - 100) < 41 for count in counts)
    assert drawn(config, steps=2, world=2) == drawn(config, steps=2)


def test_the_vote_is_trained_on_where_a_config_says_so(annotated: Callable[..., Config]) -> None:
    config = annotated(train={"steps": 1, "batch": 12, "annotator": "vote"})
    assert set(drawn(config, steps=2)) == {int(disc(5).sum())}


def test_the_choice_of_annotators_enters_the_digest_and_its_default_does_not(
    small: Small,
) -> None:
    base = small().digest()
    assert small(train={"steps": 6, "batch": 4, "validate_every": 2}).digest() == base
    vote = {"steps": 6, "batch": 4, "validate_every": 2, "annotator": "vote"}
    assert small(train=vote).digest() != base


def test_reduced_images_have_reduced_annotations(small: Small, tmp_path: Path) -> None:
    write(tmp_path, "masks_{annotator}/{case}.png", ("1", "2", "3"), cases=8)
    task = {"folder": {"at": str(tmp_path), "size": 8, "colour": False, "longest": 8}}
    (case, *_) = prepared(small(task=task, probe={"bins": 0})).train
    assert case.all_annotations.shape == (3, SIDE, SIDE)
    assert case.all_targets.shape == (3, 8, 8)
    assert torch.equal(case.all_targets[1], case.targets)  # the vote is the second annotator's


def run_of(config: Config) -> tuple[Run, Prepared]:
    data = prepared(config)
    return Run(config, WorkerContext(), data), data


def value(name: str, row: Any) -> float:
    metric = cast("Metric", parse_part("metrics", name))
    numbers = {k: v for k, v in row.items() if isinstance(v, int | float)}
    return float(metric.value({k: np.array([float(v)]) for k, v in numbers.items()})[0])


def test_rows_of_a_network_agree_with_the_masks_of_every_annotator(
    annotated: Callable[..., Config],
) -> None:
    """The intensity model finds the disc of radius 5 exactly: the second annotator's mask."""
    run, data = run_of(
        annotated(model={"intensity": {"levels": 8}}, mode="feedforward", train={"steps": 0})
    )
    rows = evaluate.measure(run, State(run).best, "test")
    areas = [int(disc(r).sum()) for r in RADII]
    assert len(rows.annotators) == 3 * len(data.test)
    for row in rows.annotators:
        area = areas[int(row["annotator"]) - 1]
        overlap = min(area, areas[1])
        assert (row["tp"], row["fp"]) == (overlap, areas[1] - overlap)
        assert row["dice_sum"] == pytest.approx(2 * overlap / (area + areas[1]))
    for row in rows.samples:
        across = [min(a, areas[1]) / max(a, areas[1]) for a in areas]
        among = [min(a, b) / max(a, b) for a, b in itertools.product(areas, areas)]
        expected = 2 * (1 - np.mean(across)) - (1 - np.mean(among))
        assert value("ged", row) == pytest.approx(expected)
        assert value("hm_iou", row) == pytest.approx(np.mean(across))
        assert value("area_crps", row) == pytest.approx(np.mean([abs(a - areas[1]) for a in areas]))


def test_one_annotator_has_no_rows_of_annotators(small: Small) -> None:
    run, _ = run_of(small(model="intensity", mode="feedforward", train={"steps": 0}))
    rows = evaluate.measure(run, State(run).best, "test")
    assert rows.annotators == []
    assert all(row["truth_pairs"] == 1 for row in rows.samples)
