"""Segments files one by one, on every device, and goes on where an earlier call stopped."""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.prediction.inputs import (
    DatasetImage,
    ImageFile,
    Slicing,
    read_image,
    read_volume,
)
from orchestrator.prediction.outputs import MOST_SHOWN, Outputs, sheet
from orchestrator.prediction.selected import Selected
from trainables.runtime.worker_context import best_device
from trainables.training.trained_model import Input, Segmentation, TrainedModel

Shown = tuple[NDArray[Any], NDArray[np.uint8]]


@dataclass
class Predicted:
    """What happened to one file."""

    name: str
    problem: str | None = None
    """Why it was skipped."""
    notes: tuple[str, ...] = ()
    shares: dict[str, float] = field(default_factory=dict[str, float])
    """The share of the pixels of each foreground class."""
    known: bool = False
    """Whether an earlier call predicted it with the same weights."""


def devices() -> list[str]:
    """Return every GPU of this machine, or else the CPU."""
    if best_device() == "cpu":
        return ["cpu"]
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


class Predictor:
    """The models on all devices, and the folder that they write to."""

    def __init__(self, chosen: Selected, folder: Path, trusted: Sequence[str] = ()) -> None:
        self._chosen = chosen
        self._models: queue.SimpleQueue[TrainedModel] = queue.SimpleQueue()
        self.devices = devices()
        for device in self.devices:
            model: Any = chosen.model(trusted)
            self._models.put(model.to(device))
            self.config, self.classes = model.config, model.classes
            self._channels = model.facts["channels"]
        self._outputs = Outputs(folder, self.classes)
        self._slicing = Slicing.of(self.config)
        self._shown: dict[str, Shown] = {}

    def predict(
        self, files: Sequence[ImageFile | DatasetImage], done: Callable[[Predicted], None]
    ) -> list[Predicted]:
        """Segment files and write their masks; ``done`` is called after each one.

        A file that cannot be read or segmented is skipped, and says why.
        """
        with ThreadPoolExecutor(len(self.devices)) as pool:
            found: list[Predicted] = []
            for result in pool.map(self._one, files):
                done(result)
                found.append(result)
        order = [self._shown[f.name] for f in files if f.name in self._shown]
        sheet(self._outputs.folder / "sheet.png", order)
        return found

    def _one(self, image: ImageFile | DatasetImage) -> Predicted:
        try:
            return self._predicted(image)
        except (ValueError, OSError, ArithmeticError) as error:
            return Predicted(image.name, problem=str(error))

    def _predicted(self, image: ImageFile | DatasetImage) -> Predicted:
        identity = {
            "trial": self._chosen.digest,
            "weights": self._chosen.hashes,
            "sha256": image.sha256(),
        }
        record = self._outputs.record(image.name)
        if record is not None and all(record.get(k) == v for k, v in identity.items()):
            self._show_known(image)
            return Predicted(image.name, known=True, shares=record.get("shares", {}))
        model = self._models.get()
        try:
            if isinstance(image, ImageFile) and image.volume:
                labels, notes = self._volume(image, model)
            else:
                labels, notes = self._image(image, model)
        finally:
            self._models.put(model)
        counts = np.bincount(labels.ravel(), minlength=len(self.classes)) / labels.size
        shares = dict(zip(self.classes[1:], counts[1:].round(6).tolist(), strict=True))
        content = {**identity, "shares": shares, "size": list(labels.shape), "notes": list(notes)}
        self._outputs.write_record(image.name, {**content, "classes": self.classes})
        return Predicted(image.name, notes=notes, shares=shares)

    def _image(
        self, image: ImageFile | DatasetImage, model: TrainedModel
    ) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        plane, notes = read_image(image, model.facts["channels"])
        found = model.segment(Input(plane.name, plane.pixels))
        self._outputs.write_image(image.name, found)
        self._show(image.name, plane.pixels, found.labels)
        return found.labels, notes

    def _volume(
        self, image: ImageFile, model: TrainedModel
    ) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        voxels = read_volume(image)
        planes = self._slicing.planes(image.name, voxels, model.facts["channels"])
        slices = list(self._slices(image.name, planes, model))
        joined = self._slicing.volume
        by_class = [joined([s.probabilities[k] for s in slices]) for k in range(len(self.classes))]
        found = Segmentation(
            labels=joined([s.labels for s in slices]),
            probabilities=np.stack(by_class),
            uncertainty=joined([s.uncertainty for s in slices]),
        )
        self._outputs.write_volume(image, voxels, found)
        return found.labels, voxels.notes

    def _slices(
        self, name: str, planes: Iterator[Any], model: TrainedModel
    ) -> Iterator[Segmentation]:
        """Segment the slices of a volume; the one with most foreground is shown on the sheet."""
        most = -1
        for plane in planes:
            pixels = plane.pixels
            if pixels.dtype.name not in model.facts["types"]:  # the type follows from the range
                pixels = pixels.astype(np.float32)
            found = model.segment(Input(plane.name, pixels))
            if int((found.labels > 0).sum()) > most:
                most = int((found.labels > 0).sum())
                self._show(name, pixels, found.labels)
            yield found

    def _show_known(self, image: ImageFile | DatasetImage) -> None:
        """Show an image with the mask of an earlier call; not if that mask cannot be read."""
        if len(self._shown) >= MOST_SHOWN:
            return
        with contextlib.suppress(OSError, ValueError):
            if not isinstance(image, ImageFile) or not image.volume:
                plane, _ = read_image(image, self._channels)
                self._show(image.name, plane.pixels, self._outputs.image_mask(image.name))
                return
            mask = read_volume(self._outputs.volume_mask(image.name))
            labels = [p.pixels[0] for p in self._slicing.cut(image.name, mask, 1)]
            most = int(np.argmax([(plane > 0).sum() for plane in labels]))
            planes = self._slicing.planes(image.name, read_volume(image), self._channels)
            pixels = next(itertools.islice(planes, most, None)).pixels
            self._show(image.name, pixels, labels[most].astype(np.uint8))

    def _show(self, name: str, pixels: NDArray[Any], labels: NDArray[np.uint8]) -> None:
        if name in self._shown or len(self._shown) < MOST_SHOWN:
            self._shown[name] = pixels, labels
