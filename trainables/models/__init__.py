"""Networks, one file each: (noisy mask, time, image) to one output per mask channel."""

from __future__ import annotations

import abc
import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from trainables.layers import dropout
from trainables.part import Part, require

Features = tuple[Tensor, ...]
"""What a network computes from the image alone, each [B, ...]."""


@dataclass(frozen=True)
class Ports:
    """How many channels go into a network and come out of it."""

    image: int
    mask: int
    """0 builds the image-only twin: no mask channel and no time branch."""
    out: int
    classes: int = 1
    """Channels of an auxiliary output."""


class Output(NamedTuple):
    """What one pass returns."""

    main: Tensor
    """[B, out, H, W]."""
    auxiliary: Tensor | None = None
    """Class logits [B, classes, H, W] of a feed-forward branch trained alongside."""
    auxiliary_weight: float = 0.0
    """Of the mean squared error of the auxiliary output's probabilities, in the loss."""


class Network(nn.Module, abc.ABC):
    """What every architecture builds."""

    @abc.abstractmethod
    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        """One pass for a (noisy, or zero) mask, its time in [0, 1], and the image.

        ``features`` are the image's :meth:`features` where the caller has them already.
        """

    def features(self, image_BCHW: Tensor) -> Features:
        """What depends on the image alone, to be computed once per image and not once per step."""
        return ()

    passes: int = 0
    """Passes made so far, counted only where a reading takes as many as the network decides."""
    patch: tuple[int, int] | None = None
    """Height and width of what a pass is shown, where that is not a tile."""

    def fit(self, images_BCHW: Tensor, labels_BHW: Tensor) -> None:
        """The closed-form part of training, if any: called once, before the first step."""

    def seed(self, seeds_B: Tensor) -> None:
        """Decide the random draws of the next training pass: one int64 per case."""
        dropout.seed(self, seeds_B)


class Together(Network):
    """Networks of one config but for the seed, each of them read by itself."""

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = cast("Sequence[Network]", nn.ModuleList(networks))

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        """One pass, which is that of the first."""
        return self.networks[0](mask_BMHW, t_B, image_BCHW, features)


class Reader(Network):
    """A network that reads whole images, in its library's own way."""

    @abc.abstractmethod
    def read(self, pixels_CHW: Tensor, overlap: float) -> Tensor:
        """Class probabilities, [1 or K, H, W], of an image as it was stored.

        ``overlap`` is the share of its side that a patch has in common with the next.
        """


class Model(Part):
    """The numbers of an architecture."""

    kind: ClassVar[str] = "models"
    published: ClassVar[Ports | None] = None
    """The channels of the published network, which the defaults describe."""
    auxiliary: ClassVar[bool] = False
    """Whether the network has an auxiliary output."""
    denoises: ClassVar[bool] = True
    """Whether the network looks at the noisy mask, so that it can be a diffusion model."""
    package: ClassVar[str | None] = None
    """The library that builds it, where that is one of the extra ``baselines``."""
    cure: ClassVar[str] = "pip install 'segprint[baselines]'"
    """What installs that library."""
    trains_itself: ClassVar[bool] = False
    """Whether the library plans, trains and reads by itself (:mod:`trainables.library_rules`)."""

    @property
    @abc.abstractmethod
    def stride(self) -> int:
        """Height and width must be multiples of this."""

    @property
    def every(self) -> int:
        """Steps that belong together: a run has a multiple of them."""
        return 1

    @property
    def views(self) -> int:
        """Passes that the network makes where it is asked for one."""
        return 1

    @property
    def learns(self) -> bool:
        """Whether the network has anything for gradient steps to change."""
        return True

    @abc.abstractmethod
    def build(self, ports: Ports) -> Network:
        """A freshly initialised network, drawn from torch's global generator."""

    def groups(self, network: Network) -> list[dict[str, Any]]:
        """Groups of parameters, as torch's optimisers take them; ``rate`` multiplies the learning
        rate of a group.
        """
        return [{"params": list(network.parameters())}]

    @property
    def installed(self) -> bool:
        """Whether it can be built here."""
        return self.package is None or importlib.util.find_spec(self.package) is not None


def require_installed(model: Model) -> None:
    """Raise ``ValueError`` with the cure where a model's library is not installed."""
    require(
        model.installed,
        f"model {model.name} needs {model.package}, which is not installed: {model.cure}",
    )


def library(model: Model) -> Any:
    """The module of the library that builds a model; importing it takes seconds.

    Raises:
        ValueError: it is not installed.
    """
    require_installed(model)
    assert model.package is not None
    return importlib.import_module(model.package)


def published_parameters(model: Model) -> int | None:
    """Parameters of the published network, counted without allocating any; None if there is none,
    or if it cannot be built here.

    ``model`` must be the preset, with every field at its default.
    """
    if model.published is None or not model.installed:
        return None
    with torch.device("meta"):
        network = model.build(model.published)
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def multiply_adds(network: Network, ports: Ports, side: int) -> int:
    """Multiply-adds of one whole pass on one tile, the image's features included."""
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    height, width = network.patch or (side, side)
    device = next(iter([*network.parameters(), *network.buffers()])).device
    with FlopCounterMode(display=False) as counter:
        network(
            torch.zeros(1, ports.mask, height, width, device=device),
            torch.zeros(1, device=device),
            torch.zeros(1, ports.image, height, width, device=device),
        )
    return counter.get_total_flops() // 2
