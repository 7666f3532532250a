"""Layouts that people have: images find their masks, and patients stay together."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import Array, folder
from tests.trees import jpeg, png, put
from trainables.datasets import Located, Problem, Raster, Source
from trainables.datasets.isic16 import ISIC16
from trainables.datasets.nifti import NIfTI
from trainables.decoding.cache import load
from trainables.part import Location, identity

NAMES = ("a", "b c", "benign (1)", "x.y", "d2")


def mask_of(i: int) -> Array:
    return (trees.blobs(24, 28, 1, i) > 0).astype(np.uint8)


def image_of(i: int) -> bytes:
    return png(trees.photo(mask_of(i), i))


def read(dataset: Located) -> dict[str, Raster]:
    items = list(dataset.scan())
    assert not [i for i in items if isinstance(i, Problem) and i.fatal], items
    return {i.name: i.read() for i in items if isinstance(i, Source)}


def write(root: Path, image: str, mask: str) -> None:
    """Pairs at paths in which ``{}`` is the name."""
    for i, name in enumerate(NAMES):
        put(root / image.format(name), image_of(i))
        put(root / mask.format(name), png(mask_of(i) * 255))


@pytest.mark.parametrize("word", ["mask", "seg", "segmentation", "label", "gt", "Mask", "SEG"])
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.png", "masks/{}_TAG.png"),
        ("images/{}.png", "images/{}_TAG.png"),
        ("{}.png", "{}_TAG.png"),
        ("benign/{}.png", "benign/{}-TAG.png"),
        ("photos/{}.png", "Truth/{}.TAG.png"),
        ("photos/{}.png", "masks/{}_TAG.png"),
    ],
)
def test_a_word_in_a_masks_name_ties_it_to_its_image(
    tmp_path: Path, word: str, image: str, mask: str
) -> None:
    write(tmp_path, image, mask.replace("TAG", word))
    found = read(folder(tmp_path))
    assert len(found) == len(NAMES)
    for i, name in enumerate(NAMES):
        (raster,) = (r for key, r in found.items() if key.rpartition("/")[2] == name)
        np.testing.assert_array_equal(raster.labels, mask_of(i))


def test_several_masks_of_one_image_are_united(tmp_path: Path) -> None:
    both = mask_of(1) | mask_of(2)
    put(tmp_path / "benign" / "benign (1).png", image_of(1))
    put(tmp_path / "benign" / "benign (1)_mask.png", png(mask_of(1) * 255))
    put(tmp_path / "benign" / "benign (1)_mask_1.png", png(mask_of(2) * 255))
    (raster,) = read(folder(tmp_path)).values()
    np.testing.assert_array_equal(raster.labels, both)
    rules = [p.rule for p in walk(folder(tmp_path)).problems]
    assert "is one of several masks of its image: those of 1 images are united" in rules


def test_masks_of_two_words_are_not_guessed(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.png", image_of(1))
    for word in ("mask", "seg"):
        put(tmp_path / "masks" / f"a_{word}.png", png(mask_of(1) * 255))
    rules = [str(p) for p in walk(folder(tmp_path)).problems if p.fatal]
    assert any("a_mask.png: has no image" in rule for rule in rules)


def test_one_file_per_object_gives_instances(tmp_path: Path) -> None:
    for i in range(4):
        objects = trees.blobs(24, 28, 3, i)
        case = tmp_path / "stage1_train" / f"id{i}"
        put(case / "images" / f"id{i}.png", image_of(i))
        for k in range(1, objects.max() + 1):
            put(case / "masks" / f"hash{k}.png", png((objects == k).astype(np.uint8) * 255))
        put(tmp_path / "stage1_test" / f"t{i}" / "images" / f"t{i}.png", image_of(i))
    items = list(folder(tmp_path).scan())
    problems = [i for i in items if isinstance(i, Problem)]
    assert any("those of 4 images are read as one object each" in p.rule for p in problems)
    assert any("4 folders" in p.rule for p in problems)
    assert not any(p.fatal for p in problems)
    sources = [i for i in items if isinstance(i, Source)]
    assert len(sources) == 4
    for i, source in enumerate(sources):
        raster = source.read()
        assert raster.instances is not None
        np.testing.assert_array_equal(raster.instances, trees.blobs(24, 28, 3, i))


def test_masks_of_several_structures_are_no_objects(tmp_path: Path) -> None:
    put(tmp_path / "eye1" / "images" / "a.png", image_of(1))
    for name in ("disc", "cup"):
        put(tmp_path / "eye1" / "masks" / f"{name}.png", png(mask_of(1) * 255))
    rules = [p.rule for p in walk(folder(tmp_path, foreground=("disc", "cup"))).problems]
    assert any("has one mask per object, but the classes are 0 background, 1 d" in r for r in rules)


@pytest.mark.parametrize("names", [("1", "2"), ("liver", "vessel"), ("0", "1", "2")])
def test_a_folder_of_masks_per_class_gives_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    expected = mask_of(1) + 2 * (mask_of(2) & ~mask_of(1) & 1)
    put(tmp_path / "images" / "a.png", image_of(1))
    for k, name in enumerate(names, start=1 - ("0" in names)):
        put(tmp_path / "masks" / name / "a.png", png((expected == k).astype(np.uint8) * 255))
    (raster,) = read(folder(tmp_path, foreground=("liver", "vessel"))).values()
    np.testing.assert_array_equal(raster.labels, expected)
    if "0" in names:  # then it may be the first class
        put(tmp_path / "masks" / "0" / "a.png", png(mask_of(1) * 255))
        rules = "".join(p.rule for p in walk(folder(tmp_path, foreground=("x", "y"))).problems)
        assert "has a mask of class 0 that is not what the other masks leave" in rules


@pytest.mark.parametrize("suffix", ["_segmentation", "_Segmentation"])
@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth"),
        ("ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth"),
    ],
)
def test_the_later_isic_challenges_are_read_as_published(
    tmp_path: Path, images: str, masks: str, suffix: str
) -> None:
    numbers = iter(range(20))
    for part, count in (("Training", 4), ("Validation", 2), ("Test", 2)):
        for i in (next(numbers) for _ in range(count)):
            name = f"ISIC_{i:07d}"
            put(tmp_path / images.format(part) / f"{name}.jpg", jpeg(trees.photo(mask_of(i), i)))
            put(tmp_path / images.format(part) / f"{name}_superpixels.png", image_of(i))
            put(tmp_path / masks.format(part) / f"{name}{suffix}.png", png(mask_of(i) * 255))
    dataset = ISIC16(at=Location(str(tmp_path)), size=16)
    assert walk(dataset).problems == []
    splits = [i.split for i in load(dataset).images]
    assert [splits.count(s) for s in ("train", "val", "test")] == [4, 2, 2]


def test_an_nnunet_tree_of_pngs_is_read(tmp_path: Path) -> None:
    for i in range(4):
        put(tmp_path / "imagesTr" / f"case{i}_0000.png", image_of(i))
        put(tmp_path / "labelsTr" / f"case{i}.png", png(mask_of(i)))
        put(tmp_path / "imagesTs" / f"case{9 + i}_0000.png", image_of(i))
    found = {i.name: i for i in folder(tmp_path).scan() if isinstance(i, Source)}
    assert sorted(found) == [f"tr/case{i}" for i in range(4)]
    np.testing.assert_array_equal(found["tr/case2"].read().labels, mask_of(2))


def test_channels_in_files_of_their_own_are_stacked_by_their_numbers(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 255, (3, 24, 28)).astype(np.uint8)
    for i in range(3):
        for k in range(3):
            put(tmp_path / "imagesTr" / f"case{i}_{k:04d}.png", png(planes[k]))
        put(tmp_path / "labelsTr" / f"case{i}.png", png(mask_of(i)))
    for raster in read(folder(tmp_path)).values():
        np.testing.assert_array_equal(raster.pixels, planes)
    (tmp_path / "imagesTr" / "case1_0001.png").rename(tmp_path / "imagesTr" / "case1_0004.png")
    rules = [p.rule for p in walk(folder(tmp_path)).problems]
    assert "has the channels 0000, 0002, 0004; other cases have 0000, 0001, 0002" in rules


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("patient{p:02d}/images/{i}.png", "patient{p:02d}/masks/{i}.png"),
        ("images/patient{p:02d}_z{i}.png", "masks/patient{p:02d}_z{i}.png"),
        ("images/Subj-{p}/{i}.png", "masks/Subj-{p}/{i}.png"),
        ("images/case_{p}_slice_{i}.png", "masks/case_{p}_slice_{i}.png"),
    ],
)
def test_all_images_of_a_patient_are_in_one_split_unless_told_otherwise(
    tmp_path: Path, image: str, mask: str
) -> None:
    for p in range(6):
        for i in range(3):
            put(tmp_path / image.format(p=p, i=i), image_of(10 * p + i))
            put(tmp_path / mask.format(p=p, i=i), png(mask_of(10 * p + i) * 255))
    found = [i for i in folder(tmp_path).scan() if isinstance(i, Source)]
    (note,) = (i for i in folder(tmp_path).scan() if isinstance(i, Problem))
    assert "the images of 6 patients or scans are kept in one split each" in note.rule
    assert not note.fatal
    assert len({i.group for i in found}) == 6
    assert len({(i.group, i.split) for i in found}) == 6
    alone = [i for i in folder(tmp_path, patients=False).scan() if isinstance(i, Source)]
    assert len({i.group for i in alone}) == 18


def test_numbers_of_the_masks_are_mapped_to_the_classes(tmp_path: Path) -> None:
    labels = mask_of(1) + 2 * (mask_of(2) & ~mask_of(1) & 1)
    numbers = np.array([0, 2, 5], np.uint8)
    put(tmp_path / "images" / "a.png", image_of(1))
    put(tmp_path / "masks" / "a.png", png(numbers[labels]))
    names = ("background", "liver", "vessel")
    (raster,) = read(folder(tmp_path, values=tuple(zip((0, 2, 5), names, strict=True)))).values()
    np.testing.assert_array_equal(raster.labels, labels)
    other = folder(tmp_path, values=tuple(zip((0, 1, 5), names, strict=True)))
    rules = [p.rule for p in walk(other).problems]
    wanted = "values 2 that stand for no class; the classes are 0 background, 1 liver, 5 vessel"
    assert any(wanted in r for r in rules)


def test_numbers_of_the_masks_of_volumes_are_mapped_to_the_classes(tmp_path: Path) -> None:
    trees.nifti(tmp_path, 4)
    for file in (tmp_path / "labelsTr").iterdir():
        i = int(file.name[5:8])
        flat = trees.blobs(40, 44, 1, i) > 0
        labels = np.stack([flat * (2 <= z < 6) for z in range(8)], 2).astype(np.int16)
        put(file, trees.volume(labels * 7, np.diag([-1.0, 1, 1, 1]) if i % 2 else np.eye(4)))
    dataset = NIfTI(at=Location(str(tmp_path)), values=((0, "background"), (7, "foreground")))
    assert not walk(dataset).broken


def test_a_field_that_came_later_is_no_part_of_an_identity_that_it_does_not_change() -> None:
    before = {"folder", "size", "longest", "foreground", "background", "colour"} - {"folder"}
    assert set(identity(folder(Path("x")))["folder"]) == before
    named = folder(Path("x"), values=((0, "background"), (3, "foreground")))
    assert identity(named)["folder"]["values"] == {"0": "background", "3": "foreground"}


@pytest.mark.parametrize("suffix", [".gif", ".dcm", ".img", ""])
def test_images_that_are_not_read_are_named(tmp_path: Path, suffix: str) -> None:
    for i in range(3):
        put(tmp_path / "images" / f"{i}{suffix}", b"anything")
        put(tmp_path / "masks" / f"{i}.png", png(mask_of(i)))
    rules = [str(p) for p in walk(folder(tmp_path)).problems]
    what = suffix or "without a suffix"
    assert any(f"images: has 3 files {what}, which are not read; read are .png" in r for r in rules)
    assert any(f"found: images/ with 3 {what}, masks/ with 3 .png" in r for r in rules)


def test_a_zip_that_joins_its_paths_by_backslashes_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for i in range(3):
            for path, data in (("images", image_of(i)), ("masks", png(mask_of(i)))):
                info = zipfile.ZipInfo("x")
                info.filename = f"set\\{path}\\{i}.png"
                archive.writestr(info, data)
    found = read(folder(tmp_path))
    assert len(found) == 3


def test_masks_in_a_folder_of_no_known_name_are_not_taken(tmp_path: Path) -> None:
    write(tmp_path, "images/{}.png", "else/{}_mask.png")
    assert walk(folder(tmp_path)).broken


def test_an_image_of_the_bare_name_belongs_to_the_patient_of_the_others(tmp_path: Path) -> None:
    for p in range(6):
        for name in (f"patient{p:02d}", f"patient{p:02d}_b"):
            put(tmp_path / "images" / f"{name}.png", image_of(p))
            put(tmp_path / "masks" / f"{name}.png", png(mask_of(p) * 255))
    found = [i for i in folder(tmp_path).scan() if isinstance(i, Source)]
    assert len({i.group for i in found}) == len({(i.group, i.split) for i in found}) == 6


def test_a_bare_number_alone_is_no_patient(tmp_path: Path) -> None:
    """Splits may number their images anew."""
    for split in ("train", "val", "test"):
        put(tmp_path / split / "images" / "patient1.png", image_of(1))
        put(tmp_path / split / "masks" / "patient1.png", png(mask_of(1) * 255))
    found = [i for i in folder(tmp_path).scan() if isinstance(i, Source)]
    assert len({i.group for i in found}) == 3


def test_a_tagged_mask_is_not_of_an_image_in_the_folder_of_another_split(tmp_path: Path) -> None:
    for split, images, masks in (("train", "12", "123"), ("test", "123", "12")):
        for i in images:
            put(tmp_path / split / "images" / f"{i}.png", image_of(int(i)))
        for i in masks:
            put(tmp_path / split / "masks" / f"{i}_mask.png", png(mask_of(int(i)) * 255))
    problems = {p.file: p.rule for p in walk(folder(tmp_path)).problems if p.fatal}
    assert problems.keys() == {"train/masks/3_mask.png", "test/images/3.png"}
    assert problems["test/images/3.png"].startswith("has no mask")


def test_the_only_mask_of_a_folder_is_told_where_its_name_is_not_the_images(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split / "images" / "a.png", image_of(1))
        put(tmp_path / split / "masks" / "a.png", png(mask_of(1) * 255))
    put(tmp_path / "val" / "images" / "v7.png", image_of(7))
    put(tmp_path / "val" / "masks" / "v8.png", png(mask_of(8) * 255))
    rules = {p.file: p.rule for p in walk(folder(tmp_path)).problems}
    told = rules["val/masks/v8.png"]
    assert told.startswith("has another name than the only image of its folder")
