"""The trainings that pending trials need: each is trained once and read by all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from trainables.config import Config

if TYPE_CHECKING:
    from orchestrator.planning.plan import Trial


def shared_trainings(config: Config) -> tuple[str, ...]:
    """Return the digests of the trainings whose weights a trial keeps and finds.

    A model that an external library trains keeps no weights.
    """
    return () if config.model.trains_itself else config.training_digests


def readable(config: Config, kept: Collection[str]) -> bool:
    """Whether a trial finds the weights of all its networks among the ``kept`` trainings."""
    needed = shared_trainings(config)
    return bool(needed) and set(needed) <= set(kept)


def networks_to_train(
    trials: Iterable[Trial], kept: Collection[str], *, keeps: bool
) -> Iterator[tuple[Trial, int]]:
    """Yield each trial with the number of networks that it trains, if they run in this order.

    ``kept`` are the trainings whose weights exist, ``keeps`` whether the trials keep theirs. Trials
    of one config run once.
    """
    known, digests = set(kept), set[str]()
    for trial in trials:
        if trial.digest in digests:
            yield trial, 0
            continue
        digests.add(trial.digest)
        shared = shared_trainings(trial.config)
        left = [training for training in shared if training not in known]
        yield trial, len(left) if shared else trial.config.mode.runs
        if keeps:
            known.update(left)


def readings_first(trials: Iterable[Trial], kept: Collection[str]) -> list[Trial]:
    """Return trials in the order in which to start them.

    Trials whose weights exist only read. Of those that train, one per training comes first, so that
    different trainings run side by side and the other readings find their weights.
    """
    reading: list[Trial] = []
    training: list[Trial] = []
    waiting: list[Trial] = []
    begun = set[str]()
    for trial in trials:
        left = set(shared_trainings(trial.config)) - set(kept)
        if not left and shared_trainings(trial.config):
            reading.append(trial)
        elif left & begun:
            waiting.append(trial)
        else:
            training.append(trial)
            begun |= left
    return [*training, *reading, *waiting]
