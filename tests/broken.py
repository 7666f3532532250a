"""Ways to damage a file, and what must then be said of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.diagnostics.dataset_check import Found, walk
from tests import trees
from tests.trees import png, put
from trainables.datasets import Dataset
from trainables.datasets.folder import Folder
from trainables.decoding.cache import load
from trainables.part import Location

Array = np.ndarray[Any, Any]
Change = Callable[[bytes], bytes]

GOOD = 10
"""Pairs of a folder to which a bad one is added."""
LABELS = (trees.blobs(24, 28, 1, 1) > 0).astype(np.uint8)
MASK = png(LABELS * 255)
PHOTO = trees.photo(LABELS, 1)


def folder(root: Path, **fields: Any) -> Folder:
    return Folder(at=Location(str(root)), **{"size": 16, **fields})


def added(root: Path, image: bytes, suffix: str = ".png", *, mask: bytes = MASK) -> Folder:
    """The folder with a pair named bad."""
    put(root / "images" / f"bad{suffix}", image)
    put(root / "masks" / "bad.png", mask)
    return folder(root)


def images(found: Found) -> int:
    return sum(row["images"] for row in found.splits)


def refused(dataset: Dataset, file: str, rule: str, remaining: int = GOOD) -> None:
    """The walk names file and rule in one line and reads the rest; loading names the file."""
    found = walk(dataset)
    lines = [str(p) for p in found.problems if p.fatal]
    assert any(file in line and re.search(rule, line) for line in lines), lines
    assert not [line for line in lines if len(line.splitlines()) != 1]
    assert images(found) == remaining
    with pytest.raises(ValueError, match=re.escape(file)):
        load(dataset)


def flipped(at: float) -> Change:
    """One byte turned into another, after a share of the file."""

    def change(data: bytes) -> bytes:
        i = int(at * len(data))
        return data[:i] + bytes([data[i] ^ 255]) + data[i + 1 :]

    return change


def cut(share: float) -> Change:
    return lambda data: data[: int(share * len(data))]
