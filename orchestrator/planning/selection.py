"""The selection of a search's best trial: Pareto front, limits and the final choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainables.schemas import Outcome


@dataclass(frozen=True)
class Standing:
    """The objectives and limits of one trial."""

    values: tuple[float, ...]
    """One value per objective; larger is better."""
    excess: tuple[float, ...] = ()
    """The amount by which each limit is exceeded; not positive where the limit holds."""

    @property
    def within(self) -> bool:
        """Whether all limits hold."""
        return all(e <= 0 for e in self.excess)


def front(standings: Mapping[str, Standing]) -> list[str]:
    """Return the digests on the Pareto front of the trials whose limits hold.

    No other trial is at least as good in every objective and better in one.

    >>> front({"a": Standing((3, 1)), "b": Standing((1, 3)), "c": Standing((1, 2))})
    ['a', 'b']
    """
    within = {d: s.values for d, s in standings.items() if s.within}

    def dominated(mine: tuple[float, ...]) -> bool:
        return any(
            other != mine and all(a >= b for a, b in zip(other, mine, strict=True))
            for other in within.values()
        )

    return [digest for digest, values in within.items() if not dominated(values)]


def best(standings: Mapping[str, Standing], outcomes: Mapping[str, Outcome]) -> str | None:
    """Return the digest to train in full: the best by the first objective whose limits hold.

    Later objectives break ties, so the choice is on the Pareto front; finished trials come before
    pruned ones. None if no trial is eligible.
    """
    for wanted in ("finished", "pruned"):
        eligible = [d for d, s in standings.items() if outcomes.get(d) == wanted and s.within]
        if eligible:
            return min(eligible, key=lambda d: (tuple(-v for v in standings[d].values), d))
    return None
