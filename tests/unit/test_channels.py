"""Folders of images with any number of channels, and of images that differ in it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from orchestrator import cli
from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import Array, folder
from tests.conftest import SMALL
from tests.trees import put
from trainables.config import parse
from trainables.datasets import Source
from trainables.decoding.cache import load
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import train


def stack(i: int, channels: int, kind: str = "uint16") -> Array:
    """An image [H, W, C] of the mask in noise, brighter in each further channel."""
    inside = trees.blobs(24, 28, 1, i) > 0
    draws = np.random.default_rng(i)
    values = [inside * 60 * (c + 1) + draws.integers(0, 20, inside.shape) for c in range(channels)]
    return np.stack(values, 2).astype(kind)


def tiff(values: Array, **how: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, photometric="minisblack", **how)
    return out.getvalue()


def samples(values: Array) -> bytes:
    """Channels as samples of a pixel."""
    how = {"planarconfig": "contig"} if values.shape[2] > 1 else {}
    return tiff(values.squeeze(), metadata=None, **how)


def planes(values: Array) -> bytes:
    """Channels as planes of one page."""
    return tiff(np.moveaxis(values, 2, 0), planarconfig="separate", metadata=None)


def imagej(values: Array) -> bytes:
    """Channels as pages of a hyperstack of ImageJ."""
    return tiff(np.moveaxis(values, 2, 0), imagej=True, metadata={"axes": "CYX"})


def ome(values: Array) -> bytes:
    """Channels as pages of an OME-TIFF."""
    return tiff(np.moveaxis(values, 2, 0), ome=True, metadata={"axes": "CYX"})


def written(
    root: Path, channels: int, write: Callable[[Array], bytes] = samples, cases: int = 6
) -> Path:
    for i in range(cases):
        put(root / "images" / f"{i}.tif", write(stack(i, channels)))
        put(root / "masks" / f"{i}.png", trees.png((trees.blobs(24, 28, 1, i) > 0) * np.uint8(255)))
    return root


@pytest.mark.parametrize("channels", [2, 4, 5])
@pytest.mark.parametrize("write", [samples, planes, imagej, ome])
def test_channels_are_read_as_samples_planes_and_declared_pages(
    tmp_path: Path, channels: int, write: Callable[[Array], bytes]
) -> None:
    dataset = folder(written(tmp_path, channels, write, 3), modalities=channels)
    for source in dataset.scan():
        assert isinstance(source, Source)
        wanted = np.moveaxis(stack(int(source.name), channels), 2, 0)
        np.testing.assert_array_equal(source.read().pixels, wanted)


def test_pages_that_are_not_declared_to_be_channels_are_refused(tmp_path: Path) -> None:
    root = written(tmp_path, 2)
    for name, axes in (("0", "ZYX"), ("1", "TYX")):
        pages = tiff(np.moveaxis(stack(0, 2), 2, 0), imagej=True, metadata={"axes": axes})
        put(root / "images" / f"{name}.tif", pages)
    plain = b"".join([tiff(np.moveaxis(stack(0, 2), 2, 0), metadata=None)])
    put(root / "images" / "2.tif", plain)
    rules = {p.file: p.rule for p in walk(folder(root, modalities=2)).problems if p.fatal}
    for i in range(3):
        assert "must hold one image" in rules[f"images/{i}.tif"]


@pytest.mark.parametrize("channels", [2, 4])
def test_a_folder_of_microscopy_is_checked_shown_and_trained_on(
    tmp_path: Path, channels: int, capsys: pytest.CaptureFixture[str]
) -> None:
    root = written(tmp_path / "cells", channels)
    assert cli.main(["data", "check", str(root)]) == 0
    shown = capsys.readouterr().out
    task = json.loads(shown.partition('"task": ')[2])
    assert task["folder"] == {"at": str(root), "modalities": channels}
    assert cli.main(["data", "show", str(root), "-o", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    task["folder"]["size"] = 16
    config = parse({**SMALL, "task": task, "train": {"steps": 2, "batch": 2, "validate_every": 2}})
    assert config.ports.image == channels
    progress = list(train(config, WorkerContext()))
    assert progress[-1].step == 2


@pytest.mark.parametrize("odd", [1, 3, 5])
def test_images_that_disagree_in_their_channels_are_refused_in_one_line(
    tmp_path: Path, odd: int
) -> None:
    root = written(tmp_path, 4)
    for i in (2, 3):
        put(root / "images" / f"{i}.tif", samples(stack(i, odd)))
    dataset = folder(root, modalities=4)
    (problem,) = [p for p in walk(dataset).problems if p.fatal and "images/" in p.file]
    assert problem.rule == (
        "images must have one number of channels: 4 have 4, images/0.tif, images/1.tif,"
        f" images/4.tif and 1 more; 2 have {odd}, images/2.tif, images/3.tif"
    )
    with pytest.raises(ValueError, match=r"channels: 1 have 4, images/\d.tif; 1 have \d, images/"):
        load(dataset)


def test_a_folder_of_two_channels_without_the_setting_names_it(tmp_path: Path) -> None:
    dataset = folder(written(tmp_path, 2))
    (problem,) = [p for p in walk(dataset).problems if "images/" in p.file]
    assert problem.rule == (
        "images must have one number of channels: 6 have 2, images/0.tif, images/1.tif,"
        " images/2.tif and 3 more; the data set has 3 (modalities=)"
    )
    with pytest.raises(ValueError, match=r"1 have 2, images/\d.tif; the data set has 3"):
        load(dataset)
