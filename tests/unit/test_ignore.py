"""Pixels to be ignored count nowhere: every number is that of the other pixels alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from orchestrator import cli
from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import Array, folder
from tests.contracts.test_modes import CLASSES, SPECS, mode
from tests.trees import png, put
from trainables.augment import Augment, View, views, warped
from trainables.config import Config, parse
from trainables.data import Case, Norm, Prepared, prepare, tiles
from trainables.datasets import Problem, Source
from trainables.datasets.nifti import NIfTI
from trainables.decoding.cache import forget, load
from trainables.evaluation import evaluate, probe
from trainables.labels import IGNORE
from trainables.models import Features, Network, Output
from trainables.models.intensity import LevelTable
from trainables.modes import Batch
from trainables.nnunet import raw_dataset
from trainables.part import Location
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.tiling import Window
from trainables.training.final_test import RunResult
from trainables.training.loop import train

VALUES = ((0, "background"), (2, "liver"), (5, "vessel"), (7, "liver"), (255, "ignore"))


class Pixelwise(Network):
    """Every output depends on its own pixel alone; what it puts out is a leaf of the gradient."""

    def __init__(self, out: int, classes: int, garbage: Tensor | None = None) -> None:
        super().__init__()
        self.out, self.classes, self.garbage = out, classes, garbage
        self.put_out: list[Tensor] = []

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        signs = torch.arange(1, self.out + 1)[:, None, None] % 3 - 1.0
        seen = image_BCHW[:, :1] + mask_BMHW.sum(1, keepdim=True) / 3
        main, side = seen * signs + 0.1, seen.repeat(1, self.classes, 1, 1) - 0.2
        if self.garbage is not None:
            main, side = main + self.garbage, side + self.garbage
        self.put_out = [main.detach().requires_grad_(), side.detach().requires_grad_()]
        return Output(*self.put_out, auxiliary_weight=0.5)


def half_ignored(wanted: Any, classes: int, garbage: float = 0) -> tuple[Tensor, list[Tensor]]:
    """The losses of 4 cases of 8 x 8, of which the right half is ignored, and their gradients."""
    whole = batch(wanted, classes)
    whole.labels_BHW[:, :, 4:] = IGNORE
    ports = wanted.ports(1, classes)
    noise = torch.zeros(8, 8)
    noise[:, 4:] = garbage * torch.randn(8, 4)
    network = Pixelwise(ports.out, ports.classes, noise)
    losses = wanted.losses(network, whole, classes, "none")
    losses.sum().backward()
    return losses, [cast("Tensor", x.grad) for x in network.put_out]


def batch(wanted: Any, classes: int) -> Batch:
    draws = torch.Generator().manual_seed(2)
    return Batch(
        torch.randn(4, 1, 8, 8, generator=draws),
        torch.randint(classes, (4, 8, 8), generator=draws).byte(),
        (torch.arange(4) + torch.rand(4, generator=draws)) / 4,
        *(torch.rand(4, generator=draws) for _ in range(2)),
        torch.arange(4),
        torch.randn((4, wanted.ports(1, classes).mask, 8, 8), generator=draws),
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("classes", CLASSES)
def test_the_loss_is_that_of_the_other_pixels_and_its_gradient_is_zero(
    spec: Any, classes: int
) -> None:
    wanted = mode(spec)
    left = batch(wanted, classes)
    left = left._replace(
        images_BCHW=left.images_BCHW[..., :4],
        labels_BHW=left.labels_BHW[..., :4],
        noise_BMHW=left.noise_BMHW[..., :4],
    )
    ports = wanted.ports(1, classes)
    alone = wanted.losses(Pixelwise(ports.out, ports.classes), left, classes, "none")
    losses, gradients = half_ignored(wanted, classes)
    torch.testing.assert_close(losses, alone)
    for gradient in gradients:
        assert not gradient[..., 4:].any()
        assert gradient[..., :4].any()
    torch.testing.assert_close(half_ignored(wanted, classes, 50.0)[0], losses, rtol=0, atol=0)


def test_a_case_without_a_pixel_that_counts_has_no_loss() -> None:
    wanted = mode("feedforward")
    whole = batch(wanted, 2)
    whole.labels_BHW[0] = IGNORE
    network = Pixelwise(1, 1)
    losses = wanted.losses(network, whole, 2, "none")
    losses.sum().backward()
    assert losses[0].item() == 0
    assert not cast("Tensor", network.put_out[0].grad)[0].any()
    assert losses.isfinite().all()


def config(tmp_path: Path, spec: Any, classes: int = 2, **changes: Any) -> Config:
    names = {str(k): f"c{k}" for k in range(classes)} | {"255": "ignore"}
    task = {"folder": {"at": str(tmp_path), "size": 16, "values": names}}
    return parse(
        {
            "task": task,
            "model": {"ensemdiff": {"channels": 8, "multipliers": [1], "blocks": 1}},
            "mode": spec,
            "test": {"unit": "images", "pictures": 0},
            "probe": {"bins": 3, "draws": 2},
            **changes,
        }
    )


def prepared(width: int, classes: int, *, complete: bool) -> Prepared:
    """Two cases of 16 x 16 of which the columns from 9 are ignored, or that end there."""
    cases: list[Case] = []
    for i in range(2):
        draws = torch.Generator().manual_seed(i)
        pixels = torch.randn(3, 16, 16, generator=draws)
        labels = torch.randint(classes, (16, 16), generator=draws).byte()
        labels[:, 4:7] = 1
        instances = torch.arange(256).reshape(16, 16).int() // 20 * (labels > 0)
        if not complete:
            labels[:, 9:] = IGNORE
        cut = (slice(None), slice(width))
        cases.append(
            Case(
                f"c{i}",
                f"c{i}",
                pixels[:, :, :width],
                labels[cut],
                instances[cut].int(),
                Norm(torch.zeros(3, 1, 1), torch.ones(3, 1, 1)),
                complete=complete,
            )
        )
    return Prepared(cases, cases, cases, 16)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(
    "spec", ["feedforward", {"diffusion": {"members": 2, "sampler": {"ddim": {"steps": 2}}}}]
)
def test_every_row_and_score_is_that_of_an_image_without_these_pixels(
    tmp_path: Path, spec: Any, classes: int
) -> None:
    wanted = config(tmp_path, spec, classes)
    ports = wanted.ports
    found: list[Any] = []
    for width, complete, garbage in ((16, False, 0), (16, False, 9), (9, True, 0)):
        run = Run(wanted, WorkerContext(), prepared(width, classes, complete=complete))
        noise = torch.zeros(16, 16)
        noise[:, 9:] = garbage * torch.randn(16, 7)
        network = Pixelwise(ports.out, ports.classes, noise)
        rows = evaluate.measure(run, network, "test")
        logits = evaluate.validation_logits(run, network)
        found.append((rows, evaluate.score(run, network), logits))
        assert rows.cases
        assert rows.instances
        assert rows.calibration
        assert rows.samples
    (rows, scores, logits), *others = found
    assert others[0][0].surfaces == rows.surfaces  # an image's border is surface, unlike this one
    for other_rows, other_scores, other_logits in others:
        assert {**vars(other_rows), "surfaces": None} == {**vars(rows), "surfaces": None}
        torch.testing.assert_close(other_scores, scores, rtol=0, atol=0)
        for one, other in zip(logits, other_logits, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_probe_measures_the_other_pixels_alone(tmp_path: Path) -> None:
    spec = {"diffusion": {"evidence": False}}
    wanted = config(tmp_path, spec)
    run = Run(wanted, WorkerContext(), prepared(16, 2, complete=False))

    def measured(garbage: float) -> list[Any]:
        noise = torch.zeros(16, 16)
        noise[:, 9:] = garbage
        return probe.measure(run, Zeros(1, 1, noise))

    rows = measured(0)
    assert rows
    for row in rows:
        assert row["pixels"] == 16 * 9
        assert row["x0_error_sum"] == row["draws"] * 16 * 9  # the estimate is 0, x0 is -1 or 1
        assert sum(row[k] for k in ("tp", "fp", "fn", "tn")) == row["draws"] * 16 * 9
    assert measured(30) == rows


class Zeros(Pixelwise):
    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        assert self.garbage is not None
        return Output(torch.zeros_like(mask_BMHW) + self.garbage)


def test_a_fit_in_closed_form_counts_the_other_pixels_alone() -> None:
    images, labels = torch.randn(2, 1, 8, 8), torch.randint(3, (2, 8, 8)).byte()
    labels[:, :, 5:] = IGNORE
    tables = [LevelTable(4, 3), LevelTable(4, 3), LevelTable(4, 3)]
    tables[0].fit(images, labels)
    tables[1].fit(images[..., :5], labels[..., :5])
    images[..., 5:] *= 100
    tables[2].fit(images, labels)
    for other in tables[1:]:
        torch.testing.assert_close(tables[0].table, other.table, rtol=0, atol=0)
        torch.testing.assert_close(tables[0].edges, other.edges, rtol=0, atol=0)


def test_a_warp_moves_ignored_pixels_with_the_image_and_makes_no_other_labels() -> None:
    labels = torch.zeros(20, 24, dtype=torch.uint8)
    labels[4:12, 6:14], labels[:, 18:] = 1, IGNORE
    shown = (labels == IGNORE).float()[None]
    strong = Augment(rotate=90.0, scale=1.0, elastic=0.1)
    for view in views(strong, [0] * 20, 16, 1, torch.Generator().manual_seed(0)):
        image, found = warped(shown, labels, Window(2, 4, 16), view)
        assert set(found.unique().tolist()) <= {0, 1, IGNORE}
        assert bool((found == IGNORE)[image[0] == 1].all())
        assert not bool((found == IGNORE)[image[0] == 0].any())
    still = View(0, 0.0, 1.0, torch.zeros(2, 4, 4), torch.ones(1), torch.zeros(1))
    _, same = warped(shown, labels, Window(2, 4, 16), still)
    torch.testing.assert_close(same, labels[2:18, 4:20])


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
