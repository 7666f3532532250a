"""The interface of models: the hyperparameters of an architecture, which build its network."""

from __future__ import annotations

import abc
import importlib.util
from typing import Any, ClassVar

from trainables.interfaces.network import Network, Ports
from trainables.part import Part


class Model(Part):
    """The hyperparameters of an architecture."""

    kind: ClassVar[str] = "models"
    published: ClassVar[Ports | None] = None
    """The channels of the published network, which the defaults describe."""
    auxiliary: ClassVar[bool] = False
    """Whether the network has an auxiliary output."""
    denoises: ClassVar[bool] = True
    """Whether the network has the noisy mask as input, so that it can be a diffusion model."""
    package: ClassVar[str | None] = None
    """The external library that builds the network, one of the extra ``baselines``."""
    cure: ClassVar[str] = "pip install 'segprint[baselines]'"
    """The command that installs the library."""
    trains_itself: ClassVar[bool] = False
    """Whether the library plans, trains and predicts (:mod:`trainables.library_rules`)."""

    @property
    @abc.abstractmethod
    def stride(self) -> int:
        """Height and width must be multiples of this."""

    @property
    def every(self) -> int:
        """Steps per epoch of the library: a run has a multiple of them."""
        return 1

    @property
    def views(self) -> int:
        """Passes that the network makes for one prediction of a patch."""
        return 1

    @property
    def learns(self) -> bool:
        """Whether the network has parameters that gradient steps change."""
        return True

    @abc.abstractmethod
    def build(self, ports: Ports) -> Network:
        """Return a freshly initialised network, drawn from torch's global generator."""

    def groups(self, network: Network) -> list[dict[str, Any]]:
        """Return parameter groups as torch's optimisers take them.

        The key ``rate`` of a group multiplies its learning rate.
        """
        return [{"params": list(network.parameters())}]

    @property
    def installed(self) -> bool:
        """Whether the library that builds the network is installed here."""
        return self.package is None or importlib.util.find_spec(self.package) is not None
