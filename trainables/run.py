"""A run: one config on one worker, with its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from trainables.config import Config
from trainables.data import Case, Prepared
from trainables.runtime.worker_context import WorkerContext


@dataclass(frozen=True)
class Run:
    """The inputs of training and evaluation: the config, the worker and the data."""

    config: Config
    context: WorkerContext
    data: Prepared

    def share(self, cases: Sequence[Case]) -> range:
        """Return the indices of the cases that this worker evaluates."""
        return range(self.context.rank, len(cases), self.context.world)

    def without_microbatches(self) -> Run:
        """Return the run with a microbatch factor of 1."""
        return dataclasses.replace(
            self, context=dataclasses.replace(self.context, microbatch_factor=1)
        )
