"""Where to run, one file per kind: knows Ray's start-up and nothing of our work."""

from __future__ import annotations

import abc
import difflib
import importlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Resources:
    """What the connected cluster offers."""

    cpus: int
    gpus: int
    nodes: tuple[tuple[float, float], ...] = ()
    """CPUs and GPUs of each of its nodes; one node with all of them where nothing is said."""

    def __post_init__(self) -> None:
        if not self.nodes:
            object.__setattr__(self, "nodes", ((float(self.cpus), float(self.gpus)),))


class Cluster(abc.ABC):
    """A place with Ray."""

    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """Variables to set before Ray is imported anywhere in the process."""

    @abc.abstractmethod
    def expected(self) -> Resources | None:
        """What it will offer, where that is known without starting or reaching anything."""

    @abc.abstractmethod
    @contextmanager
    def connect(self) -> Generator[Resources]:
        """Ray is usable inside the block.

        Raises:
            ConnectionError: there is no usable Ray there.
        """


def names() -> list[str]:
    """Names of the clusters in this folder."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def load(name: str) -> Cluster:
    """The cluster of that name, with its defaults.

    Raises:
        ValueError: there is no such cluster.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown cluster {name!r}{hint} (choices: {', '.join(names())})")
    module = importlib.import_module(f"cluster.{name}")
    (kind,) = (
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, Cluster)
        and member.__module__ == module.__name__
    )
    return kind()
