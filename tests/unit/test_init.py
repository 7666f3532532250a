"""``segprint init``: a study from a look at a directory; what is unclear is one line."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import search_spaces
from tests.conftest import Segprint

SIDE = 80
Mask = NDArray[Any]


def disc(x: int, y: int, radius: int = 12) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def binary(i: int) -> Mask:
    return disc(30 + i, 40).astype(np.uint8) * 255


def classes(i: int) -> Mask:
    return (disc(25 + i, 40) * 1 + disc(60, 30 + i, 8) * 2).astype(np.uint8)


def numbered(i: int) -> Mask:
    """A number per object: 12 to 17 of them."""
    mask = np.zeros((SIDE, SIDE), np.uint16)
    for k in range(12 + i):
        mask[4 + 15 * (k // 5) : 14 + 15 * (k // 5), 4 + 15 * (k % 5) : 14 + 15 * (k % 5)] = k + 1
    return mask


def few_objects(i: int) -> Mask:
    """One to three regions with consecutive numbers: classes or objects."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for k in range(1 + i % 3):
        mask[disc(16 + 24 * k, 40, 8)] = k + 1
    return mask


def ignored(i: int) -> Mask:
    mask = classes(i)
    mask[:4] = 255
    return mask


def write(folder: Path, mask_of: Callable[[int], Mask], count: int = 6) -> None:
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        mask = mask_of(i)
        image = (rng.integers(0, 80, mask.shape) + 100 * (mask > 0)).astype(np.uint8)
        PIL.Image.fromarray(np.stack([image] * 3, -1)).save(folder / f"images/case{i}.png")
        PIL.Image.fromarray(mask).save(folder / f"masks/case{i}.png")


def volumes(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(5):
        mask = np.stack([binary(i) > 0] * 4, -1).astype(np.uint8)
        image = (rng.normal(0, 20, mask.shape) + 100 * mask).astype(np.int16)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"images/p{i}.nii.gz")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"masks/p{i}.nii.gz")


def task_of(path: Path) -> Any:
    """The data set in a written file, read without running it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "task":
                    return ast.literal_eval(value)
    raise AssertionError("no task")


@pytest.mark.parametrize(
    ("masks", "fields"),
    [
        (binary, {}),
        (classes, {"foreground": ["class_1", "class_2"]}),
        (numbered, {"objects": True}),
        (ignored, {"values": {"0": "background", "1": "class_1", "2": "class_2", "255": "ignore"}}),
    ],
)
def test_a_plan_accepts_what_it_writes(
    masks: Callable[[int], Mask], fields: dict[str, Any], inline: Segprint, tmp_path: Path
) -> None:
    write(tmp_path / "data", masks)
    done = inline("init", "first.py", "--data", "data")
    assert done.returncode == 0, done.stderr
    assert task_of(tmp_path / "first.py") == {"folder": {"at": str(tmp_path / "data"), **fields}}
    plan = inline("plan", "./first.py", "--json")
    assert plan.returncode == 0, plan.stderr
    assert '"to_run": 6' in plan.stdout


def test_volumes_are_read_as_nifti(inline: Segprint, tmp_path: Path) -> None:
    volumes(tmp_path / "data")
    assert inline("init", "first.py", "--data", "data").returncode == 0
    assert list(task_of(tmp_path / "first.py")) == ["nifti"]
    _, space = search_spaces.load(str(tmp_path / "first.py"))
    assert space.config["train"]["precision"] == "tf32", "the fast choice on a GPU"


def test_a_file_is_never_overwritten(inline: Segprint, tmp_path: Path) -> None:
    write(tmp_path / "data", binary)
    (tmp_path / "mine.py").write_text("# mine")
    done = inline("init", "mine.py", "--data", "data")
    assert (done.returncode, (tmp_path / "mine.py").read_text()) == (2, "# mine")
    assert "mine.py: this file exists" in done.stderr


def test_what_is_unclear_is_one_line_with_the_choices(inline: Segprint, tmp_path: Path) -> None:
    write(tmp_path / "data", few_objects, count=18)
    done = inline("init", "first.py", "--data", "data")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "may be classes or objects" in line
    assert "--set objects=true" in line
    assert not (tmp_path / "first.py").exists()
    assert inline("init", "first.py", "--data", "data", "--set", "objects=true").returncode == 0
    names = 'foreground=["one", "two", "three"]'
    assert inline("init", "second.py", "--data", "data", "--set", names).returncode == 0
    assert task_of(tmp_path / "second.py")["folder"]["foreground"] == ["one", "two", "three"]


def test_of_several_data_sets_one_is_chosen_by_its_fields(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("busi_128.npz", "busi_256.npz"):
        (tmp_path / "data" / name).touch()
    done = inline("init", "first.py", "--data", "data")
    assert done.returncode == 2
    assert "(choices: --set flag=busi --set resolution=128, --set flag=busi --set" in done.stderr
    chosen = inline("init", "first.py", "--data", "data", "--set", "resolution=256")
    assert "several data sets" not in chosen.stderr
    assert "busi_256.npz" in chosen.stderr  # the file is empty


@pytest.mark.parametrize(
    ("file", "data", "rule"),
    [
        ("first-study.py", "data", "must be a Python identifier"),
        ("slurm.py", "data", "has the name of a cluster"),
        ("first.txt", "data", "must end in .py"),
        ("away/first.py", "data", "no directory away"),
        ("first.py", "nowhere", "is no directory"),
        ("first.py", "texts", "has no image"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    file: str, data: str, rule: str, inline: Segprint, tmp_path: Path
) -> None:
    write(tmp_path / "data", binary)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    done = inline("init", file, "--data", data)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert rule in line
    assert sorted(p.name for p in tmp_path.glob("*.py")) == []
