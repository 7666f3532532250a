"""Sets that torch_em lists: its paths, splits and options, with the labels that were drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import cli
from tests import trees
from tests.trees import png, put
from trainables.datasets import Problem, Raster, Source
from trainables.datasets.torch_em import TorchEm
from trainables.part import Location

DRAWN = """
import os
from glob import glob
from typing import List, Literal, Optional, Tuple


def get_drawn_paths(
    path: str,
    split: Optional[Literal["train", "validation", "test", "all"]] = None,
    task: Literal["cells", "colours"] = "cells",
    fold: int = 0,
    download: bool = False,
) -> Tuple[List[str], List[str]]:
    print("torch_em speaks on stdout")
    if not os.path.exists(os.path.join(path, "train")):
        if not download:
            raise RuntimeError(f"Cannot find the data at {path}, but download was set to False.")
        raise RuntimeError("no network")
    assert fold == 0
    images = sorted(glob(os.path.join(path, split or "*", "raw", "*.png")))
    return images, [p.replace("raw", task).replace(".png", ".tif") for p in images]
"""
ODD = """
def get_{}_paths(path, download=False):
    return {}
"""


@pytest.fixture
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with the interface of torch_em and sets that are drawn."""
    home = tmp_path / "site" / "torch_em" / "data" / "datasets" / "medical"
    for folder in (home, *list(home.parents)[:3]):
        put(folder / "__init__.py", b"")
    put(home / "drawn.py", DRAWN.encode())
    put(home / "odd.py", ODD.format("odd", '["a.png"]').encode())
    put(home / "volumes.py", ODD.format("volumes", '["a.h5"], ["b.h5"]').encode())
    for name in [n for n in sys.modules if n.split(".")[0] == "torch_em"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    for name in [n for n in sys.modules if n.split(".")[0] == "torch_em"]:
        del sys.modules[name]


def objects(i: int) -> Any:
    return trees.blobs(24, 28, 3, i).astype(np.uint16) * 7


def write(root: Path) -> None:
    for split, count in (("train", 4), ("validation", 2), ("test", 2)):
        for i in range(count):
            name = f"{split[:2]}{i}"
            numbers = objects(i)
            put(root / split / "raw" / f"{name}.png", png(trees.photo(numbers > 0, i)))
            put(root / split / "cells" / f"{name}.tif", trees.tif(numbers))
            put(root / split / "colours" / f"{name}.tif", trees.tif(numbers.astype(np.uint8)))


def dataset(root: Path, **fields: Any) -> TorchEm:
    return TorchEm(at=Location(str(root)), **{"source": "drawn", **fields})


def read(found: TorchEm) -> dict[str, tuple[Source, Raster]]:
    items = list(found.scan())
    assert not [i for i in items if isinstance(i, Problem)], items
    return {i.name: (i, i.read()) for i in items if isinstance(i, Source)}


@pytest.mark.usefixtures("_package")
def test_objects_and_splits_are_those_of_the_set(tmp_path: Path) -> None:
    write(tmp_path / "set")
    found = read(dataset(tmp_path / "set", objects=True))
    splits = [source.split for source, _ in found.values()]
    assert [splits.count(s) for s in ("train", "val", "test")] == [4, 2, 2]
    _, raster = found["train/raw/tr3"]
    assert raster.instances is not None
    numbers = objects(3)
    np.testing.assert_array_equal(raster.labels, numbers > 0)
    pairs = set(zip(raster.instances.ravel().tolist(), numbers.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(numbers)) == len(np.unique(raster.instances))


@pytest.mark.usefixtures("_package")
def test_an_option_chooses_the_masks_and_fixes_the_split(tmp_path: Path) -> None:
    write(tmp_path / "set")
    named = ((0, "background"), (7, "a"), (14, "b"), (21, "ignore"))
    found = read(
        dataset(tmp_path / "set", options=("task=colours", "split=train", "fold=0"), values=named)
    )
    assert len(found) == 4
    for i, (_, raster) in enumerate(found.values()):
        wanted = np.array([0, 1, 2, 255])[objects(i) // 7]
        np.testing.assert_array_equal(raster.labels, wanted)


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"source": "nowhere"}, "torch_em has no set 'nowhere'"),
        ({"options": '["size=3"]'}, "drawn has no option size (choices: split, task, fold)"),
        ({"source": "odd"}, "torch_em odd does not list one mask per image"),
        ({"source": "volumes"}, "torch_em volumes lists files .h5, which are not read here"),
    ],
)
def test_what_cannot_be_listed_is_refused(
    tmp_path: Path, settings: dict[str, str], rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "set")
    fields = {"at": tmp_path / "set", "source": "drawn", **settings}
    given = [f"--set={name}={value}" for name, value in fields.items()]
    assert cli.main(["data", "check", "torch_em", *given, "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert rule in problem["problem"]


@pytest.mark.usefixtures("_package")
def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rule = "download was set to False.*segprint data get torch_em --set source=drawn"
    with pytest.raises(FileNotFoundError, match=rule):
        list(dataset(tmp_path / "set").scan())


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_em", None)
    (tmp_path / "set").mkdir()
    with pytest.raises(ValueError, match=r"pip install 'segprint\[torch-em\]'"):
        list(dataset(tmp_path / "set").scan())


def test_the_package_lists_a_set_as_it_lays_it_out(tmp_path: Path) -> None:
    pytest.importorskip("torch_em")
    for split, count in (("train", 5), ("test", 2)):
        for i in range(count):
            numbers = objects(i)
            put(tmp_path / split / "images" / f"{i}.tif", trees.tif(trees.photo(numbers > 0, i)))
            put(tmp_path / split / "masks" / f"{i}.tif", trees.tif(numbers))
    found = read(dataset(tmp_path, source="dsb", options=("source=reduced",), objects=True))
    assert sorted({source.split for source, _ in found.values()}) == ["test", "train", "val"]
    for name, (_, raster) in found.items():
        assert raster.instances is not None
        i = int(name.rpartition("/")[2])
        np.testing.assert_array_equal(raster.instances > 0, objects(i) > 0)
        assert len(np.unique(raster.instances)) == len(np.unique(objects(i)))
