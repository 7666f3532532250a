"""``segprint data``: list, fetch and check data sets."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, cast

import numpy as np

from orchestrator.commands import emit
from trainables.datasets import SPLITS, Dataset
from trainables.part import names, parse_part, summary


def main(options: Namespace) -> int:
    """``ls`` reads nothing; ``get`` and ``check`` read all of the named sets."""
    wanted = options.names or names("datasets")
    if options.action == "ls":
        rows = [{"name": n, "about": summary("datasets", n)} for n in wanted]
        emit(rows, None, options.json)
        return 0
    parsed = [cast("Dataset", parse_part("datasets", n)) for n in wanted]
    rows: list[dict[str, Any]] = []
    broken = False
    for dataset in parsed:
        try:
            rows += described(dataset)
        except (ValueError, OSError) as error:
            broken = True
            rows.append({"name": dataset.name, "problem": str(error)})
    columns = ("name", "split", "images", "groups", "size", "prevalence", "hash", "problem")
    emit(rows, {c: c for c in columns}, options.json)
    return 1 if broken else 0


def described(dataset: Dataset) -> list[dict[str, Any]]:
    """One row per split: counts, sizes, and the share of pixels of each foreground class."""
    rows: list[dict[str, Any]] = []
    for split in SPLITS:
        mine = [i for i in dataset.images() if i.split == split]
        labels = np.concatenate([i.labels.ravel() for i in mine])
        shares = np.bincount(labels, minlength=len(dataset.classes)) / len(labels)
        shown = zip(dataset.classes[1:], shares[1:], strict=True)
        sizes = sorted({f"{i.labels.shape[0]}x{i.labels.shape[1]}" for i in mine})
        rows.append(
            {
                "name": dataset.name,
                "split": split,
                "images": len(mine),
                "groups": len({i.group for i in mine}),
                "size": ", ".join(sizes),
                "prevalence": ", ".join(f"{name} {share:.3f}" for name, share in shown),
                "hash": dataset.content_hash(),
                "problem": None,
            }
        )
    return rows
