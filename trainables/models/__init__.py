"""Models, one file each: networks from (noisy mask, time, image) to one output per channel."""

import importlib
from typing import Any

import torch

from trainables.interfaces.model import Model
from trainables.interfaces.network import (
    Ensemble,
    Features,
    ImagePredictor,
    Network,
    Output,
    Ports,
)
from trainables.part import require

__all__ = [
    "Ensemble",
    "Features",
    "ImagePredictor",
    "Model",
    "Network",
    "Output",
    "Ports",
    "library",
    "multiply_adds",
    "published_parameters",
    "require_installed",
]


def require_installed(model: Model) -> None:
    """Raise a ``ValueError`` that names the remedy if the library of a model is not installed."""
    require(
        model.installed,
        f"model {model.name} needs {model.package}, which is not installed: {model.cure}",
    )


def library(model: Model) -> Any:
    """Return the module of the library that builds a model; importing it takes seconds.

    Raises:
        ValueError: the library is not installed.
    """
    require_installed(model)
    assert model.package is not None
    return importlib.import_module(model.package)


def published_parameters(model: Model) -> int | None:
    """Return the number of parameters of the published network, without allocating any.

    ``model`` must have the default of every field. None where no network is published, or where
    its library is not installed.
    """
    if model.published is None or not model.installed:
        return None
    with torch.device("meta"):
        network = model.build(model.published)
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def multiply_adds(network: Network, ports: Ports, side: int) -> int:
    """Return the multiply-adds of one pass on one tile, including the image's features."""
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
