"""The rows of one held-out case: an image or a tile, or a volume that comes slice by slice.

Sums over pixels are added over the slices. Objects, instances, and the diversity of an ensemble are
measured on the whole volume, whose masks are kept as labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from trainables import masks
from trainables.config import Config
from trainables.data import Case
from trainables.datasets import Split
from trainables.evaluation import diversity, instances, surfaces
from trainables.evaluation.counts import counts, histogram
from trainables.metrics.dice import Dice
from trainables.rows import AnnotatorRow, CaseKey, Rows

T = TypeVar("T")


class CaseRows:
    """Collects the slices of one held-out case of a split."""

    def __init__(self, config: Config, split: Split) -> None:
        self._config, self._split = config, split
        self._rows = Rows()
        self._slices: list[Case] = []
        self._predicted: list[Tensor] = []
        self._members: list[Tensor] = []

    def add(self, case: Case, readings: Mapping[str, Tensor]) -> None:
        """Add the counts and the calibration of a slice.

        ``readings`` are probabilities [1, M, H, W] by name.
        """
        self._slices.append(case)
        for reading, p in readings.items():
            self._add_reading(case, reading, p)

    def add_ensemble(self, mean_1MHW: Tensor, members_NMHW: Tensor) -> None:
        """Add the prediction and the members of the last slice, to be measured in the whole."""
        self._predicted.append(masks.to_labels(mean_1MHW)[0])
        self._members.append(masks.to_labels(members_NMHW))

    def finish(self) -> Rows:
        """Return the rows of the case."""
        rows = self._rows
        if len(self._slices) > 1:
            rows.cases = _summed(rows.cases, ("class", "reading"))
            rows.calibration = _summed(rows.calibration, ("class", "reading", "bin"))
            self._count_objects(rows)
        if self._members:
            self._add_diversity(rows)
            self._add_instances(rows)
            self._add_surfaces(rows)
        return rows

    def _keys(self) -> Iterator[tuple[int, CaseKey]]:
        """Yield each foreground class with the key columns of its row."""
        case = self._slices[0]
        for k, label in enumerate(self._config.task.classes[1:], start=1):
            key = {"split": self._split, "case": case.whole, "group": case.group, "class": label}
            yield k, cast("CaseKey", key)

    def _add_reading(self, case: Case, reading: str, p_1MHW: Tensor) -> None:
        predicted, foreground = masks.to_labels(p_1MHW)[0], masks.foreground(p_1MHW)[0]
        which, rows = masks.counted(case.labels), self._rows
        for k, key in self._keys():
            truth = case.labels == k
            shape = instances.shape(truth, case.instances, which)
            confusion = counts((predicted == k)[which], truth[which])
            rows.cases.append({**key, "reading": reading, **confusion, **shape})
            bins = histogram(foreground[k - 1][which], truth[which])
            rows.calibration.extend({**key, "reading": reading, **sums} for sums in bins)
            if reading == "sample":
                band = instances.boundary_band(truth, which)
                bins = histogram(foreground[k - 1][band], truth[band])
                rows.calibration.extend({**key, "reading": "boundary", **sums} for sums in bins)

    def _count_objects(self, rows: Rows) -> None:
        """Replace the sum over slices by the number of objects, which extend over slices."""
        labels, true = self._labels(), self._instances()
        numbers = {key["class"]: instances.objects(labels == k, true) for k, key in self._keys()}
        for row in rows.cases:
            row["objects"] = numbers[row["class"]]

    def _add_diversity(self, rows: Rows) -> None:
        """Add the differences between the members of the ensemble, and those to the annotations."""
        annotations = self._annotations()
        which = masks.counted(annotations).all(0) & masks.counted(self._labels())
        members, true = _joined(self._members, 1)[:, which], annotations[:, which]
        for k, key in self._keys():
            rows.samples.append({**key, **diversity.row(members == k, true == k)})
        if names := self._slices[0].annotators:
            self._add_annotators(rows, dict(zip(names, true, strict=True)), which)

    def _add_annotators(self, rows: Rows, labels: Mapping[str, Tensor], which: Tensor) -> None:
        """Add the counts of the prediction against each annotator, by name."""
        predicted = _joined(self._predicted, 0)[which]
        for k, key in self._keys():
            for annotator, true in labels.items():
                sums = counts(predicted == k, true == k)
                dice = float(Dice().value({c: np.array(n, float) for c, n in sums.items()}))
                row = {**key, "annotator": annotator, **sums, "dice_sum": dice, "dice_count": 1}
                rows.annotators.append(cast("AnnotatorRow", row))

    def _add_instances(self, rows: Rows) -> None:
        """Add the instances that the prediction found, for a case with true instances."""
        true = self._instances()
        if true is None:
            return
        labels, predicted = self._labels(), _joined(self._predicted, 0)
        which = masks.counted(labels)
        for k, key in self._keys():
            found = instances.components((predicted == k) & which)
            rows.instances.append({**key, **instances.row(found, true * (labels == k))})

    def _add_surfaces(self, rows: Rows) -> None:
        """Add the surface distances in pixels, and in millimetres where the spacing is known.

        Slices that do not lie at equal distances have none.
        """
        labels, predicted = self._labels(), _joined(self._predicted, 0)
        spacing = self._slices[0].spacing
        units: dict[str, tuple[float, ...]] = {"px": ()}
        if spacing is not None:
            units["mm"] = tuple(spacing)[-labels.ndim :]
        if 0 in units.get("mm", ()):
            return
        which = masks.counted(labels).numpy()
        for k, key in self._keys():
            found, true = (predicted == k).numpy(), (labels == k).numpy()
            for unit, sides in units.items():
                bins = surfaces.rows(found, true, which, sides)
                rows.surfaces.extend({**key, "unit": unit, **sums} for sums in bins)

    def _labels(self) -> Tensor:
        """Return the true labels, uint8 [H, W] or [D, H, W]."""
        return _joined([case.labels for case in self._slices], 0)

    def _annotations(self) -> Tensor:
        """Return the labels of all annotators, uint8 [A, H, W] or [A, D, H, W]; A may be 1."""
        return _joined([case.all_annotations for case in self._slices], 1)

    def _instances(self) -> Tensor | None:
        """Return the true instances, int32 [H, W] or [D, H, W]; None where they are not known."""
        known = [case.instances for case in self._slices if case.instances is not None]
        return _joined(known, 0) if len(known) == len(self._slices) else None


def _joined(slices: Sequence[Tensor], axis: int) -> Tensor:
    """Return the slices along a new axis; a single one as it is."""
    return slices[0] if len(slices) == 1 else torch.stack(list(slices), axis)


def _summed(rows: list[T], by: tuple[str, ...]) -> list[T]:
    """Return the sums of the numbers in rows that have the same values ``by`` these columns."""
    totals: dict[tuple[Hashable, ...], dict[str, Any]] = {}
    for each in rows:
        row = cast("dict[str, Any]", each)
        total = totals.setdefault(tuple(row[name] for name in by), row)
        if total is not row:
            for name, value in row.items():
                if name not in by and not isinstance(value, str):
                    total[name] += value
    return cast("list[T]", list(totals.values()))
