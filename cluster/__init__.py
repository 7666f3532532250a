"""Where to run, one file per kind: knows Ray's start-up and nothing of our work."""

from __future__ import annotations

import abc
import ast
import difflib
import hashlib
import importlib
import importlib.util
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
SECRET = re.compile(r"secret|password|passwd|token|credential|access_?key|api_?key", re.IGNORECASE)
"""What the name of a variable says that holds a credential."""
NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
"""A name that Slurm, Kubernetes and the clouds' tags all take."""
WORKERS = "SEGPRINT_WORKERS"
"""The variable that tells a driver how many nodes to wait for, and how large these are."""


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
    """A place with Ray, which a driver in this process can reach."""

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


Command = tuple[str, ...]
MOST_LABEL = 50


def short(name: str, most: int) -> str:
    """The name, or where it is too long its beginning and a digest of all of it.

    >>> short("abcdefghijk", 11), short("abcdefghijkl", 11)
    ('abcdefghijk', 'abcd-d682ed')
    """
    return name if len(name) <= most else f"{name[: most - 7].rstrip('-')}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


@dataclass(frozen=True)
class Job:
    """What a cluster is to run: what follows ``python``, of which it knows nothing more."""

    name: str
    """A second job of that name is the same job."""
    run: Command
    """The work itself, on a node of the cluster, beside Ray: ``RAY_ADDRESS`` says where."""
    submit: Command
    """Hands the work to the Ray Jobs of a cluster, from one of its nodes."""
    logs: Command
    """Follows what it prints, likewise."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """The user's own files, path to text, below the directory that the work runs in."""

    @property
    def label(self) -> str:
        """The name as Kubernetes, Slurm and Ray Jobs take it.

        >>> Job("my_study", (), (), ()).label, Job("_Größe", (), (), ()).label
        ('my-study', 'gr-e-ffa1a8')
        """
        plain = re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-")
        if plain == self.name.replace("_", "-"):
            return short(plain, MOST_LABEL)
        return short(f"{plain}-{_digest(self.name)}".strip("-"), MOST_LABEL)


@dataclass(frozen=True)
class Remote(abc.ABC):
    """A cluster elsewhere, described: what is sent there, and the commands that send it.

    No credential is part of a description, or of what is made from it.
    """

    name: str = "segprint"
    """Of the cluster, in tags and labels; two clusters need two names."""
    nodes: int = 2
    gpus: int = 1
    """Of each node."""
    cpus: int = 8
    """Of each node."""
    hours: float = 24.0
    """After so long, whatever still runs is stopped."""
    store: str = ""
    """Where results go (default: what ``--store`` says)."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Plain variables of every process, e.g. ``{"SEGPRINT_DATA": "/data"}``; no credentials."""

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"{kind}: name={self.name!r} must be at most 30 of a-z, 0-9 and -, a letter first"
            )
        for what, least in (("nodes", 1), ("gpus", 0), ("cpus", 1)):
            if getattr(self, what) < least:
                raise ValueError(f"{kind}: {what}={getattr(self, what)} must be at least {least}")
        if not 0 < self.hours <= 24 * 30:
            raise ValueError(f"{kind}: hours={self.hours:g} must be above 0 and at most 720")
        for key in self.env:
            if not key.isidentifier():
                raise ValueError(f"{kind}: env {key!r} must be the name of a variable")
            if SECRET.search(key):
                raise ValueError(
                    f"{kind}: env {key!r} looks like a credential, which must not be in a"
                    " description; the cluster's own means carry it (see its file's docstring)"
                )

    @property
    def shape(self) -> str:
        """The value of :data:`WORKERS`: nodes, CPUs and GPUs of each."""
        return f"{self.nodes}x{self.cpus}x{self.gpus}"

    @property
    def ships(self) -> bool:
        """Whether the work runs from a copy of the source, ``./source`` beside the files."""
        return True

    @property
    def needs_token(self) -> bool:
        """Whether a file ``token`` is sent as well, made once, that only its owner may read."""
        return False

    def place(self, job: Job | None = None) -> str:
        """The directory, below one of the user's, that the files are kept in."""
        del job
        return self.name

    @abc.abstractmethod
    def files(self, job: Job | None = None) -> dict[str, str]:
        """All that is sent, name to text; what the cluster itself needs where there is no job."""

    @abc.abstractmethod
    def up(self) -> list[Command]:
        """Start it; run where the files are."""

    @abc.abstractmethod
    def down(self) -> list[Command]:
        """Stop whatever runs there and all that costs money; results stay."""

    @abc.abstractmethod
    def status(self) -> list[Command]:
        """Print its nodes and what it runs, a line ``study NAME STATE ...`` for each study."""

    @abc.abstractmethod
    def submit(self, job: Job) -> list[Command]:
        """Have it run a job, which goes on when this machine is switched off."""

    @abc.abstractmethod
    def logs(self, job: Job) -> list[Command]:
        """Follow what a job prints."""


def names() -> list[str]:
    """Names of the clusters in this folder."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def load(name_or_path: str) -> Cluster | Remote:
    """The cluster of that name with its defaults, or what a file's ``CLUSTER`` says.

    Raises:
        ValueError: there is no such cluster, or the file does not define one.
    """
    if name_or_path.endswith(".py"):
        return _described(name_or_path)
    if name_or_path not in names():
        near = difflib.get_close_matches(name_or_path, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"unknown cluster {name_or_path!r}{hint} (choices: {', '.join(names())}, or the path"
            " of a .py file)"
        )
    return kind(importlib.import_module(f"cluster.{name_or_path}"))()


def is_cluster(word: str) -> bool:
    """Whether a word names a cluster, or a file that describes one; nothing is run."""
    if not word.endswith(".py") or not Path(word).is_file():
        return word in names()
    try:
        body = ast.parse(Path(word).read_bytes()).body
    except (SyntaxError, ValueError):
        return False
    given = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "CLUSTER" for target in given)


def kind(module: ModuleType) -> type[Cluster] | type[Remote]:
    """The one class of cluster that a module of this folder defines."""
    (found,) = (
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, (Cluster, Remote))
        and member.__module__ == module.__name__
    )
    return found


def _described(given: str) -> Cluster | Remote:
    path = Path(given)
    if not path.is_file():
        raise ValueError(f"cluster {given!r}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"segprint_cluster_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"cluster {given!r}: {type(error).__name__}: {error}") from error
    found = getattr(module, "CLUSTER", None)
    if not isinstance(found, (Cluster, Remote)):
        raise ValueError(
            f"cluster {given!r} must define CLUSTER = Slurm(...) or another kind of"
            f" {', '.join(names())}; found {found!r}"
        )
    return found
