"""The choices of clusters: the modules of this folder, and files that define ``CLUSTER``."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import reprlib
from pathlib import Path
from types import ModuleType

from cluster._kinds import Cluster, Remote
from search_spaces._types import check_types
from trainables import user_files

HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the clusters in this folder."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def source_file(name: str) -> Path:
    """Return the module of a cluster in this folder."""
    return HERE / f"{name}.py"


def load(name_or_path: str) -> Cluster | Remote:
    """Return the cluster of that name with its defaults, or the ``CLUSTER`` of a .py file.

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


def is_cluster(argument: str) -> bool:
    """Return whether an argument names a cluster or a file that defines ``CLUSTER``.

    The file is parsed and not executed.
    """
    if not argument.endswith(".py") or not Path(argument).is_file():
        return argument in names()
    try:
        body = ast.parse(Path(argument).read_bytes()).body
    except (SyntaxError, ValueError):
        return False
    assigned = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "CLUSTER" for target in assigned)


def kind(module: ModuleType) -> type[Cluster] | type[Remote]:
    """Return the one class of cluster that a module of this folder defines."""
    (cluster_class,) = (
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, (Cluster, Remote))
        and member.__module__ == module.__name__
    )
    return cluster_class


def _described(given: str) -> Cluster | Remote:
    path = Path(given)
    if not path.is_file():
        raise ValueError(f"cluster {given!r}: there is no such file")
    module = user_files.load(path, f"cluster {given!r}")
    defined = getattr(module, "CLUSTER", None)
    if not isinstance(defined, (Cluster, Remote)):
        raise ValueError(
            f"cluster {given!r} must define CLUSTER = Slurm(...) or another kind of"
            f" {', '.join(names())}; found {reprlib.repr(defined)}"
        )
    if dataclasses.is_dataclass(defined):
        check_types(defined)
    return defined
