"""The interface of modes, with the batch that they train on and the prediction that they return."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from trainables.controls import Control
from trainables.interfaces.network import Network, Ports
from trainables.interfaces.sampler import Noise
from trainables.part import Part


class Batch(NamedTuple):
    """One worker's share of a training step; its draws depend on the seed and the step only."""

    images_BCHW: Tensor
    labels_BHW: Tensor
    """uint8, 0..K−1, or :data:`~trainables.labels.IGNORE`."""
    uniform_B: Tensor
    """Uniform in [0, 1), stratified over the global batch: each case's place in time. It stays on
    the CPU, where noise levels are computed."""
    drop_B: Tensor
    """Uniform in [0, 1): decides image dropout."""
    twin_B: Tensor
    """Uniform in [0, 1): decides which cases are trained feed-forward."""
    seeds_B: Tensor
    """int64: seeds of the draws inside the network."""
    noise_BMHW: Tensor
    """Standard normal, one channel per channel of the encoded mask."""
    other_images_BCHW: Tensor | None = None
    """The image of another case for each case, where a control needs it."""
    other_labels_BHW: Tensor | None = None
    other_noise_BMHW: Tensor | None = None
    """Standard normal, independent of ``noise_BMHW``."""

    def to(self, device: str) -> Batch:
        """Return the same batch on a device; a copy from pinned memory is not waited for."""
        moved = Batch(*(None if x is None else x.to(device, non_blocking=True) for x in self))  # pyright: ignore[reportArgumentType]
        return moved._replace(uniform_B=self.uniform_B)

    def pinned(self) -> Batch:
        """Return the same batch in memory from which a GPU copies while the host goes on."""

        def pin(x: Tensor | None) -> Tensor | None:
            return x.pin_memory() if x is not None and x.device.type == "cpu" else x

        return Batch(*map(pin, self))  # pyright: ignore[reportArgumentType]

    def chunks(self, count: int) -> list[Batch]:
        """Return the batch in at most ``count`` microbatches, in order."""
        size = -(-len(self.seeds_B) // count)
        return [
            Batch(*(None if x is None else x[first : first + size] for x in self))  # pyright: ignore[reportArgumentType]
            for first in range(0, len(self.seeds_B), size)
        ]


class Prediction(NamedTuple):
    """The prediction for a batch of images."""

    members: Tensor
    """Class probabilities of each member of the ensemble: [B, N, 1 or K, H, W]."""
    auxiliary: Tensor | None
    """Class probabilities of the auxiliary output: [B, 1 or K, H, W]."""


class Mode(Part):
    """How a network is trained and how it predicts."""

    kind: ClassVar[str] = "modes"
    denoises: ClassVar[bool] = False
    """Whether the network has a noisy mask as input."""

    @property
    def schedule_name(self) -> str | None:
        """The name of the noise schedule; None for a mode without one."""
        return None

    @property
    def runs(self) -> int:
        """Networks that are trained one after another and predict together."""
        return 1

    @property
    @abc.abstractmethod
    def passes(self) -> int:
        """Network passes per image at test."""

    @property
    @abc.abstractmethod
    def ensemble(self) -> int:
        """Members whose mean is the sample."""

    @abc.abstractmethod
    def ports(self, image_channels: int, classes: int) -> Ports:
        """Return the channels of the network for so many classes, background included."""

    @abc.abstractmethod
    def losses(self, network: Network, batch: Batch, classes: int, control: Control) -> Tensor:
        """Return the loss of each case, [B]."""

    @abc.abstractmethod
    def predict(
        self,
        network: Network,
        images_BCHW: Tensor,
        classes: int,
        seeds: Sequence[int],
        control: Control,
    ) -> Prediction:
        """Predict a batch of images; ``seeds`` (one per case) decide all random draws.

        The caller has applied image controls already: only controls of the noisy mask matter here,
        and only for a mode that has one.
        """


class SamplingMode(Mode):
    """A mode that predicts by repeated passes of a network, with draws of noise between them."""

    @abc.abstractmethod
    def noise(self, images_BCHW: Tensor, classes: int, seeds: Sequence[int]) -> Noise:
        """Return the draws for a batch; each depends on the seed of its case and on its member."""

    @abc.abstractmethod
    def sampled(
        self,
        network: Network,
        images_BCHW: Tensor,
        classes: int,
        noise: Noise,
        control: Control,
    ) -> Prediction:
        """Predict a batch from its draws.

        Whatever else the host computes must depend on the shape of the images only: on a GPU the
        passes of one batch are captured, and repeated for the images and draws of others.
        """

    def predict(
        self,
        network: Network,
        images_BCHW: Tensor,
        classes: int,
        seeds: Sequence[int],
        control: Control,
    ) -> Prediction:
        noise = self.noise(images_BCHW, classes, seeds)
        return self.sampled(network, images_BCHW, classes, noise, control)
