"""A data set in nnU-Net's raw format: one TIFF per case and channel or mask, dataset.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from torch import Tensor

from trainables.data import Case
from trainables.datasets import Dataset
from trainables.labels import IGNORE

NAME = "Dataset001_segprint"
ENDING = ".tif"
SPACING = (999.0, 1.0, 1.0)
"""The spacing that nnU-Net gives a two-dimensional image: one slice, pixels of unit size."""


def description(task: Dataset, cases: int) -> dict[str, Any]:
    """Return the content of dataset.json.

    The names carry prefixes, so that nnU-Net gives none of them a meaning: it would normalise a
    channel called CT in another way, and would not learn a class called ignore. Pixels to be
    ignored have nnU-Net's own label for them, which must be the last one.
    """
    names = ("red", "green", "blue") if task.channels == 3 else range(task.channels)
    ignored = {"ignore": len(task.classes)} if task.ignores else {}
    return {
        "channel_names": {str(i): f"channel_{name}" for i, name in enumerate(names)},
        "labels": {"background": 0}
        | {f"class_{name}": k for k, name in enumerate(task.classes) if k}
        | ignored,
        "numTraining": cases,
        "file_ending": ENDING,
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }


def write(raw: Path, task: Dataset, split: str, cases: Sequence[Case]) -> list[str]:
    """Add cases with their stored pixels to the data set; return their names in it."""
    images, labels = (raw / NAME / folder for folder in ("imagesTr", "labelsTr"))
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    names = [f"{split}_{i:06d}" for i in range(len(cases))]
    for name, case in zip(names, cases, strict=True):
        for channel, plane in enumerate(planes(case.pixels)):
            tifffile.imwrite(images / f"{name}_{channel:04d}{ENDING}", plane)
        targets = case.targets.masked_fill(case.targets == IGNORE, len(task.classes))
        tifffile.imwrite(labels / f"{name}{ENDING}", targets.numpy().astype(np.uint8))
    content = description(task, len(list(labels.iterdir())))
    (raw / NAME / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return names


def planes(pixels_CHW: Tensor) -> np.ndarray[Any, Any]:
    """Return the values that nnU-Net reads from an image: float32 [C, H, W]."""
    return np.ascontiguousarray(pixels_CHW.numpy(), dtype=np.float32)
