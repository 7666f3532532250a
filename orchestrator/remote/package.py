"""The package that is sent to a cluster: the source, the user's files and the command.

It never contains data, results, an environment or a repository; its source files are those of a
wheel.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster import Cluster, Job, Remote
from cluster.kuberay import Kuberay
from cluster.slurm import Slurm
from orchestrator.provenance import PACKAGES, ROOT, SENT, code_version
from trainables import user_files

DATA_FILES = {
    "orchestrator": ["report/*.j2", "report/page.*", "serving/live.*", "views/views.md"],
    "trainables": ["datasets/*.csv"],
}
"""Files of the packages other than Python modules, by package."""
PROJECT_FILES = ("pyproject.toml", "README.md", "constraints.txt")
MAX_BYTES = 8 * 2**20
"""The largest package: Ray sends at most 100 MiB, and keeps it in the memory of its head."""


def sources() -> dict[str, Path]:
    """Return the files of the source by their relative paths."""
    files: list[Path] = [ROOT / name for name in PROJECT_FILES if (ROOT / name).is_file()]
    for package in PACKAGES:
        for pattern in ("**/*.py", *DATA_FILES.get(package, [])):
            files += (ROOT / package).glob(pattern)
    return {str(path.relative_to(ROOT)): path for path in sorted(files)}


def stage(job: Job, folder: Path) -> None:
    """Write the package of a job into a new folder.

    Raises:
        ValueError: the package is larger than :data:`MAX_BYTES`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    size = 0
    for name, path in sources().items():
        size += _write(folder / name, path.read_bytes())
    for name, text in job.files.items():
        size += _write(folder / name, text.encode())
    _write(folder / SENT.name, f"{code_version()}\n".encode())
    if size > MAX_BYTES:
        raise ValueError(
            f"the source and the Python files of the study have {size / 2**20:.0f} MiB, at"
            f" most {MAX_BYTES / 2**20:.0f} are sent: move the study to a directory of its own"
        )


def _write(path: Path, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_bytes(content)


def job_of(
    study: str,
    space: str,
    where: Cluster | Remote,
    on: str,
    store: str,
    changes: Sequence[str] = (),
) -> Job:
    """Return the sweep of a study as a job.

    ``space`` is the space's name or path, ``on`` the cluster's, ``changes`` are options that change
    the space.

    Raises:
        ValueError: the cluster could not reach the store.
    """
    store = _reachable(getattr(where, "store", "") or store, where, on)
    files = dict(_python_files(Path(space))) if space.endswith(".py") else {}
    argument = _path_in_package(Path(space), Path(space)) if files else space
    assert argument is not None
    cli = ("-m", "orchestrator.cli", "--store", store)
    return Job(
        name=study,
        run=(*cli, "sweep", argument, "--on", "existing", *changes),
        submit=(*cli, "submit", "existing", argument, *changes),
        logs=(*cli, "logs", "existing", argument, *changes),
        files=files,
    )


def doctor_of(where: Cluster | Remote, on: str, store: str) -> Job:
    """Return the doctor's checks of all nodes as a job.

    Raises:
        ValueError: the cluster could not reach the store.
    """
    store = _reachable(getattr(where, "store", "") or store, where, on)
    arguments = ("-m", "orchestrator.cli", "--store", store, "doctor", "--on", "existing")
    return Job(name="doctor", run=arguments, submit=arguments, logs=arguments)


def _reachable(store: str, where: Cluster | Remote, on: str) -> str:
    """Return the store as the nodes of a cluster address it.

    Raises:
        ValueError: the store is a local directory that the nodes do not share.
    """
    if "://" in store:
        return store
    if isinstance(where, Slurm):
        return str(Path(store).absolute())  # the nodes share the file system
    if isinstance(where, Cluster) and not isinstance(where, Kuberay):
        address = getattr(where, "address", "") or os.environ.get("RAY_ADDRESS", "")
        if address.rpartition("://")[2].startswith(("127.", "localhost")):
            return str(Path(store).absolute())
    raise ValueError(
        f"--store {store!r} is a directory of this machine, which cluster {on!r} does not reach:"
        " it must be s3://BUCKET/PREFIX"
    )


def _path_in_package(path: Path, space: Path) -> str | None:
    """Return the path of a user's file in the package, where relative paths keep their meaning.

    None if it lies neither in the working directory nor in the directory of the space.
    """
    for folder in (Path.cwd().resolve(), space.resolve().parent):
        if path.resolve().is_relative_to(folder):
            return str(path.resolve().relative_to(folder))
    return None


def _python_files(space: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the Python files that a study may need, in order of their paths.

    Those are all files in its directory, and what the space and its parts imported from folders
    when they were loaded.

    Raises:
        ValueError: a file is not UTF-8.
    """
    for path in sorted({*space.resolve().parent.glob("*.py"), *user_files.executed()}):
        name = _path_in_package(path, space)
        if name is None:
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is sent with the study and must be UTF-8: {error}") from None
