"""A data set in nnU-Net's raw format: a TIFF per case and channel, one per mask, dataset.json."""

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

NAME = "Dataset001_segprint"
ENDING = ".tif"
SPACING = (999.0, 1.0, 1.0)
"""What nnU-Net gives an image of two dimensions: one slice of a volume, pixels of one unit."""


def described(task: Dataset, cases: int) -> dict[str, Any]:
    """What dataset.json says.

    No name means anything to it: a channel that is called CT would be normalised in another way
    than to zero mean and unit deviation, a class that is called ignore would not be learnt.
    """
    names = ("red", "green", "blue") if task.channels == 3 else range(task.channels)
    return {
        "channel_names": {str(i): f"channel_{name}" for i, name in enumerate(names)},
        "labels": {"background": 0}
        | {f"class_{name}": k for k, name in enumerate(task.classes) if k},
        "numTraining": cases,
        "file_ending": ENDING,
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }


def write(raw: Path, task: Dataset, split: str, cases: Sequence[Case]) -> list[str]:
    """Add cases to the data set, with the pixels as they were stored; returns their names there."""
    images, labels = (raw / NAME / folder for folder in ("imagesTr", "labelsTr"))
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    names = [f"{split}_{i:06d}" for i in range(len(cases))]
    for name, case in zip(names, cases, strict=True):
        for channel, plane in enumerate(planes(case.pixels)):
            tifffile.imwrite(images / f"{name}_{channel:04d}{ENDING}", plane)
        tifffile.imwrite(labels / f"{name}{ENDING}", case.targets.numpy().astype(np.uint8))
    about = described(task, len(list(labels.iterdir())))
    (raw / NAME / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return names


def planes(pixels_CHW: Tensor) -> np.ndarray[Any, Any]:
    """What nnU-Net reads of an image: float32 [C, H, W]."""
    return np.ascontiguousarray(pixels_CHW.numpy(), dtype=np.float32)
