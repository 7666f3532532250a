"""The two kinds of clusters, and the jobs that a remote one runs."""

from __future__ import annotations

import abc
import hashlib
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from search_spaces._types import check_types

CREDENTIAL = re.compile(
    r"secret|password|passwd|token|credential|access_?key|api_?key", re.IGNORECASE
)
"""Matches the names of variables that hold credentials."""
NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
"""Matches names that Slurm, Kubernetes and the tags of the clouds all accept."""
MAX_LABEL = 50
MAX_HOURS = 24 * 30
WORKERS = "SEGPRINT_WORKERS"
"""The variable that states to a driver how many nodes to wait for, and their size."""

Command = tuple[str, ...]


@dataclass(frozen=True)
class Resources:
    """The CPUs and GPUs of the connected cluster."""

    cpus: int
    gpus: int
    nodes: tuple[tuple[float, float], ...] = ()
    """(CPUs, GPUs) of each node; by default one node has all of them."""

    def __post_init__(self) -> None:
        if not self.nodes:
            object.__setattr__(self, "nodes", ((float(self.cpus), float(self.gpus)),))


class Cluster(abc.ABC):
    """A Ray cluster that a driver in this process connects to."""

    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the variables that must be set before the process imports Ray."""

    @abc.abstractmethod
    def expected(self) -> Resources | None:
        """Return its resources if they are known without a connection.

        Raises:
            ConnectionError: this machine or the environment does not permit a connection.
        """

    @abc.abstractmethod
    @contextmanager
    def connect(self) -> Generator[Resources]:
        """Connect to Ray for the duration of the block.

        Raises:
            ConnectionError: Ray does not run there or refuses the connection.
        """


@dataclass(frozen=True)
class Job:
    """Work for a remote cluster: the arguments of ``python``, without their meaning."""

    name: str
    """Identifies the job: two jobs of the same name are the same job."""
    run: Command
    """Does the work on a node of the cluster; ``RAY_ADDRESS`` holds the address of its Ray."""
    submit: Command
    """Submits the work to Ray Jobs, from a node of the cluster."""
    logs: Command
    """Follows the output of the work, from a node of the cluster."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """The user's files: path relative to the working directory, and text."""

    @property
    def label(self) -> str:
        """The name in the form that Kubernetes, Slurm and Ray Jobs accept.

        >>> Job("my_study", (), (), ()).label, Job("_Größe", (), (), ()).label
        ('my-study', 'gr-e-ffa1a8')
        """
        plain = re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-")
        if plain == self.name.replace("_", "-"):
            return short(plain, MAX_LABEL)
        return short(f"{plain}-{_digest(self.name)}".strip("-"), MAX_LABEL)


@dataclass(frozen=True)
class Remote(abc.ABC):
    """A cluster elsewhere, described by the files it needs and the commands that operate it.

    Neither the description nor the files and commands contain a credential.
    """

    name: str = "segprint"
    """The cluster's name in tags and labels; two clusters need different names."""
    nodes: int = 2
    gpus: int = 1
    """GPUs per node."""
    cpus: int = 8
    """CPUs per node."""
    hours: float = 24.0
    """The time limit: work that runs longer is stopped."""
    store: str = ""
    """The store of the results (default: the value of ``--store``)."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables of all processes, e.g. ``{"SEGPRINT_DATA": "/data"}``; no credentials."""

    def __post_init__(self) -> None:
        check_types(self)
        kind = type(self).__name__
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"{kind}: name={self.name!r} must have at most 30 characters of a-z, 0-9 and -,"
                " and begin with a letter"
            )
        for what, least in (("nodes", 1), ("gpus", 0), ("cpus", 1)):
            if getattr(self, what) < least:
                raise ValueError(f"{kind}: {what}={getattr(self, what)} must be at least {least}")
        if not 0 < self.hours <= MAX_HOURS:
            raise ValueError(f"{kind}: hours={self.hours:g} must be above 0 and at most 720")
        for key in self.env:
            if not key.isidentifier():
                raise ValueError(f"{kind}: env {key!r} must be the name of a variable")
            if CREDENTIAL.search(key):
                raise ValueError(
                    f"{kind}: env {key!r} looks like a credential, which a description must not"
                    " contain; the docstring of the cluster's file names the way to pass it"
                )

    @property
    def shape(self) -> str:
        """The value of :data:`WORKERS`: ``NODESxCPUSxGPUS``, the last two per node."""
        return f"{self.nodes}x{self.cpus}x{self.gpus}"

    @property
    def sends_source(self) -> bool:
        """Whether the work runs from a copy of the source in ``./source``."""
        return True

    @property
    def needs_token(self) -> bool:
        """Whether a file ``token`` is sent too; only its owner may read it."""
        return False

    def directory(self, job: Job | None = None) -> str:
        """Return the relative path of the local directory for the files."""
        del job
        return self.name

    @abc.abstractmethod
    def files(self, job: Job | None = None) -> dict[str, str]:
        """Return the files to send, name to text: those of a job, or of the cluster itself."""

    @abc.abstractmethod
    def up(self) -> list[Command]:
        """Return the commands that start the cluster, to be run in the files' directory."""

    @abc.abstractmethod
    def down(self) -> list[Command]:
        """Return the commands that stop all its work and machines; results stay."""

    @abc.abstractmethod
    def status(self) -> list[Command]:
        """Return the commands that print its nodes, and ``study NAME STATE ...`` per study."""

    @abc.abstractmethod
    def submit(self, job: Job) -> list[Command]:
        """Return the commands that start a job, which continues when this machine is off."""

    @abc.abstractmethod
    def logs(self, job: Job) -> list[Command]:
        """Return the commands that follow the output of a job."""


def short(name: str, most: int) -> str:
    """Return a name of at most ``most`` characters: longer ones end with a digest of the whole.

    >>> short("abcdefghijk", 11), short("abcdefghijkl", 11)
    ('abcdefghijk', 'abcd-d682ed')
    """
    return name if len(name) <= most else f"{name[: most - 7].rstrip('-')}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
