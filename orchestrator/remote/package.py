"""What goes to a cluster: the source, the user's own files beside the study, and the command.

Never data, results, an environment or a repository: the source is what a wheel would have.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import search_spaces
from cluster import Cluster, Job, Remote
from cluster.kuberay import Kuberay
from cluster.slurm import Slurm
from orchestrator.provenance import PACKAGES, ROOT, SENT, code_version

PATTERNS = {"orchestrator": ["report/page.*"], "trainables": ["datasets/*.csv"]}
BESIDE = ("pyproject.toml", "README.md", "constraints.txt")
MOST_BYTES = 8 * 2**20
"""Of the source and the user's files; Ray sends at most 100 MiB, and keeps it in its head."""


def sources() -> dict[str, Path]:
    """The files of the source, by their place in the copy."""
    found: list[Path] = [ROOT / name for name in BESIDE if (ROOT / name).is_file()]
    for package in PACKAGES:
        for pattern in ("**/*.py", *PATTERNS.get(package, [])):
            found += (ROOT / package).glob(pattern)
    return {str(path.relative_to(ROOT)): path for path in sorted(found)}


def stage(job: Job, folder: Path) -> None:
    """Make the copy that the work runs from.

    Raises:
        ValueError: it would be larger than a source ever is.
    """
    shutil.rmtree(folder, ignore_errors=True)
    size = 0
    for name, path in sources().items():
        size += _put(folder / name, path.read_bytes())
    for name, text in job.files.items():
        size += _put(folder / name, text.encode())
    _put(folder / SENT.name, f"{code_version()}\n".encode())
    if size > MOST_BYTES:
        raise ValueError(
            f"source and files beside the study have {size / 2**20:.0f} MiB, at most"
            f" {MOST_BYTES / 2**20:.0f} are sent: have the study in a directory of its own"
        )


def _put(path: Path, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_bytes(content)


def job_of(space: str, where: Cluster | Remote, on: str, store: str, most: int | None) -> Job:
    """The sweep of a study as a job for a cluster.

    Raises:
        ValueError: there is no such space, or the cluster could not reach the store.
    """
    study, _ = search_spaces.load(space)
    store = _reachable(getattr(where, "store", "") or store, where, on)
    files = dict(_beside(Path(space))) if space.endswith(".py") else {}
    word = _place(Path(space)) if files else space
    cli = ("-m", "orchestrator.cli", "--store", store)
    more = () if most is None else ("--most", str(most))
    return Job(
        name=study,
        run=(*cli, "sweep", word, "--on", "existing", *more),
        submit=(*cli, "submit", "existing", word, *more),
        logs=(*cli, "logs", "existing", word, *more),
        files=files,
    )


def doctor_of(where: Cluster | Remote, on: str, store: str) -> Job:
    """The doctor's look at all nodes, as a job for the cluster itself.

    Raises:
        ValueError: the cluster could not reach the store.
    """
    store = _reachable(getattr(where, "store", "") or store, where, on)
    words = ("-m", "orchestrator.cli", "--store", store, "doctor", "--on", "existing")
    return Job(name="doctor", run=words, submit=words, logs=words)


def _reachable(store: str, where: Cluster | Remote, on: str) -> str:
    if "://" in store:
        return store
    if isinstance(where, Slurm):
        return str(Path(store).absolute())  # its nodes share the file system
    if isinstance(where, Cluster) and not isinstance(where, Kuberay):
        address = getattr(where, "address", "") or os.environ.get("RAY_ADDRESS", "")
        if address.partition("://")[2].startswith(("127.", "localhost")):
            return str(Path(store).absolute())
    raise ValueError(
        f"--store {store!r} is a directory of this machine, which cluster {on!r} does not reach:"
        " it must be s3://BUCKET/PREFIX"
    )


def _place(path: Path) -> str:
    """Where a file of the user's is in the copy: relative paths mean there what they mean here."""
    here = Path.cwd().resolve()
    path = path.resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


def _beside(space: Path) -> Iterator[tuple[str, str]]:
    """The study's file and the Python files in its directory, which it may name by their path."""
    for path in sorted(space.resolve().parent.glob("*.py")):
        yield _place(path), path.read_text(encoding="utf-8")
