"""A trained model as a torch module that segments images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables import masks
from trainables.config import Config
from trainables.controls import Control
from trainables.data import Case, Norm, Prepared
from trainables.decoding.downscale import reduced
from trainables.evaluation.predict import predictions
from trainables.models import Ensemble, Network
from trainables.part import require
from trainables.run import Run
from trainables.runtime.numerics import select_numerics
from trainables.runtime.worker_context import WorkerContext
from trainables.torch_calls import from_array
from trainables.training.trained import DataFacts

MOST_DEVIATIONS = 10.0
"""An image whose mean lies farther from that of the training images has another scale of values."""


class Segmentation(NamedTuple):
    """The prediction for one image, at its own size."""

    labels: NDArray[np.uint8]
    """[H, W], the most probable class, 0 for the background."""
    probabilities: NDArray[np.float32]
    """[K, H, W], of all classes; background first."""
    uncertainty: NDArray[np.float32]
    """[H, W], the standard deviation of the foreground probability over the members of the
    ensemble, largest over the classes; of one member, that of a draw from its probability."""


@dataclass(frozen=True)
class Input:
    """An image to segment, and the name that its random draws depend on."""

    name: str
    pixels: NDArray[Any]
    """[C, H, W], with the values as they are stored."""


class TrainedModel(nn.Module):
    """The networks of one trial, with the normalisation of its training images.

    ``config`` is the trial's config, so images are read as its test cases were: with its sampler,
    its members and its overlap of patches.
    """

    def __init__(self, config: Config, networks: Sequence[Network], facts: DataFacts) -> None:
        super().__init__()
        self.config, self.facts = config, facts
        self.network = networks[0] if len(networks) == 1 else Ensemble(networks)
        self.mean: Tensor
        self.std: Tensor
        for name, values in (("mean", facts["mean"]), ("std", facts["std"])):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])
        self.eval()

    @property
    def classes(self) -> list[str]:
        """The names of the classes, background first."""
        return self.facts["classes"]

    def forward(self, image_CHW: Tensor) -> Tensor:
        """Return the class probabilities, float32 [K, H, W], of an image with its stored values."""
        (found,) = self.predict([image_CHW])
        return from_array(found.probabilities).to(image_CHW.device)

    def predict(self, images: Sequence[Any]) -> list[Segmentation]:
        """Segment images, each an array or a tensor [C, H, W] or, with one channel, [H, W].

        Values are those that an image file stores: they are normalised here. Equal calls give
        equal results.

        Raises:
            ValueError: an image has another number of channels, or values of another kind.
        """
        inputs = [Input(f"image {i}", _array(image)) for i, image in enumerate(images)]
        return [self.segment(each) for each in inputs]

    def segment(self, image: Input) -> Segmentation:
        """Segment one image.

        Raises:
            ValueError: it has another number of channels, or values of another kind.
        """
        self.check(image.pixels)
        labels = np.zeros(image.pixels.shape[1:], np.uint8)
        pixels, _ = reduced(image.pixels, labels, self.config.task.longest)
        norm = Norm(self.mean.cpu(), self.std.cpu())
        case = Case(
            image.name,
            image.name,
            from_array(pixels),
            from_array(labels),
            instances=None,
            norm=norm,
        )
        context = WorkerContext(device=str(self.mean.device))
        select_numerics(self.config.train.precision, context.device)
        run = Run(self.config, context, Prepared([], [], [case], self.config.task.size))
        ((_, prediction),) = predictions(run, self.network, [case], [0], self._control)
        members_NKHW = _all_classes(prediction.members[0])
        mean = members_NKHW.mean(0)
        return Segmentation(
            masks.to_labels(prediction.members.mean(1))[0].numpy(),
            mean.numpy(),
            _deviation(members_NKHW).numpy(),
        )

    @property
    def _control(self) -> Control:
        """The control under which the network was trained, if it applies to a single image."""
        control = self.config.train.control
        return "none" if control == "shuffled_image" else control

    def check(self, pixels_CHW: NDArray[Any]) -> None:
        """Raise ``ValueError`` unless an image has the channels and the values of the task."""
        channels, types = self.facts["channels"], self.facts["types"]
        require(
            pixels_CHW.ndim == 3 and pixels_CHW.shape[0] == channels,
            f"has the shape {list(pixels_CHW.shape)}, must be [{channels}, height, width]",
        )
        require(
            pixels_CHW.dtype.name in types or "float32" in types,
            f"has values of type {pixels_CHW.dtype}, the network was trained on"
            f" {' and '.join(types)}",
        )
        require(bool(np.isfinite(pixels_CHW).all()), "has NaN or inf pixels")
        means = pixels_CHW.mean((1, 2), dtype=np.float64)
        for mean, usual, std in zip(means, self.facts["mean"], self.facts["std"], strict=True):
            require(
                abs(mean - usual) <= MOST_DEVIATIONS * std,
                f"has a mean of {mean:.4g}, the training images have {usual:.4g} ± {std:.4g}: its"
                " values have another scale",
            )


def _array(image: Any) -> NDArray[Any]:
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    array = array.astype(np.float32) if array.dtype == np.float64 else array
    return array[None] if array.ndim == 2 else array


def _all_classes(members_NMHW: Tensor) -> Tensor:
    """Return the probabilities of all classes, [N, K, H, W]."""
    if members_NMHW.shape[1] > 1:
        return members_NMHW
    return torch.cat([1 - members_NMHW, members_NMHW], 1)


def _deviation(members_NKHW: Tensor) -> Tensor:
    """Return the largest standard deviation over the foreground classes, [H, W]."""
    foreground = members_NKHW[:, 1:]
    if len(foreground) == 1:
        deviation = (foreground[0] * (1 - foreground[0])).clamp(min=0).sqrt()
    else:
        deviation = foreground.std(0, correction=0)
    return deviation.amax(0)
