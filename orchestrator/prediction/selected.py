"""A trial with the weights that it reads, ready to be rebuilt as a model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.formatting import plural
from trainables.config import parse
from trainables.models import require_installed
from trainables.part import require
from trainables.schemas import Row
from trainables.training.trained import Trained
from trainables.training.trained_model import TrainedModel
from trainables.trusted_files import UntrustedError, only_trusted


@dataclass(frozen=True)
class Selected:
    """A finished trial and its kept weights."""

    trial: Row
    """Its row of the view ``trials``."""
    weights: tuple[Trained, ...]
    """Those of each network that it reads."""

    @property
    def digest(self) -> str:
        return self.trial["digest"]

    @property
    def hashes(self) -> list[str]:
        """The hash of the weights of each network."""
        return [each.sha256 for each in self.weights]

    def model(self, trusted: Iterable[str] = ()) -> TrainedModel:
        """Rebuild the model; of Python files, its config may name ``trusted``.

        Raises:
            ValueError: its code is not known here, or has changed since.
        """
        with only_trusted(trusted):
            try:
                config = parse(json.loads(self.trial["config"]))
            except UntrustedError as error:
                raise ValueError(f"{self.digest}: {error}") from None
            except ValueError as error:
                raise ValueError(
                    f"{self.digest}: this code cannot parse its config: {error}; check out the"
                    f" code it ran with, {self.trial['code']}"
                ) from None
            require(
                len(self.weights) == len(config.trainings),
                f"{self.digest} reads {plural(len(config.trainings), 'network')}, there are weights"
                f" of {len(self.weights)}",
            )
            require_installed(config.model)
            for kept in self.weights:
                kept.check_versions(config)
            networks = [kept.network(trusted) for kept in self.weights]
        return TrainedModel(config, networks, self.weights[0].data)
