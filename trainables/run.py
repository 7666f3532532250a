"""A run: one config on one worker, with its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from trainables.config import Config
from trainables.data import Case, Prepared, wholes
from trainables.runtime.worker_context import WorkerContext


@dataclass(frozen=True)
class Run:
    """The inputs of training and evaluation: the config, the worker and the data."""

    config: Config
    context: WorkerContext
    data: Prepared

    def share(self, cases: Sequence[Case]) -> list[int]:
        """Return the indices of the cases that this worker evaluates; it has all slices of one."""
        mine = set(wholes(cases)[self.context.rank :: self.context.world])
        return [i for i, case in enumerate(cases) if case.whole in mine]

    def without_microbatches(self) -> Run:
        """Return the run with a microbatch factor of 1."""
        return dataclasses.replace(
            self, context=dataclasses.replace(self.context, microbatch_factor=1)
        )
