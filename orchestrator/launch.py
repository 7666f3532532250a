"""Hand files and commands of a described cluster to the tools that know it, or only show them."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
from pathlib import Path

import cluster
from cluster import Command, Job, Remote
from cluster._cloud import TOKEN
from orchestrator.shipment import sources, stage


def described(name_or_path: str, verb: str) -> Remote:
    """A cluster that is started from here.

    Raises:
        ValueError: there is no such cluster, or it is one that nobody starts or submits to.
    """
    where = cluster.load(name_or_path)
    if not isinstance(where, Remote):
        kinds = [n for n in cluster.names() if isinstance(cluster.load(n), Remote)]
        raise ValueError(
            f"cluster {name_or_path!r} is not one to {verb}: segprint sweep SPACE --on"
            f" {name_or_path} (to {verb}: {', '.join(kinds)}, or the path of a .py file)"
        )
    return where


def folder(where: Remote, job: Job | None) -> Path:
    """Where the files of a cluster are kept, readable by their owner alone."""
    return Path.home() / ".segprint" / where.place(job)


def shown(where: Remote, job: Job | None, commands: list[Command]) -> str:
    """Exactly what would be sent, and what would send it."""
    parts = [f"# --- {name}\n{text.rstrip()}\n" for name, text in where.files(job).items()]
    if where.ships:
        files = sources()
        size = sum(path.stat().st_size for path in files.values()) / 2**20
        parts.append(f"# --- source/: {len(files)} files of the packages, {size:.1f} MiB")
        parts += [f"# --- source/{name}\n{text.rstrip()}\n" for name, text in _own(job)]
    if where.needs_token:
        parts.append(f"# --- {TOKEN}: made once, mode 0600, shown nowhere")
    parts.append(f"# --- commands, in {folder(where, job)}")
    parts += [shlex.join(command) for command in commands] or ["# none"]
    return "\n".join(parts)


def _own(job: Job | None) -> list[tuple[str, str]]:
    return [] if job is None else list(job.files.items())


def launch(where: Remote, job: Job | None, commands: list[Command]) -> int:
    """Write the files and run the commands; the exit code of the first that fails, else 0.

    Raises:
        ValueError: a command is not installed here.
    """
    place = folder(where, job)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if where.ships and commands:
        stage(job or Job("", (), (), ()), place / "source")
    for name, text in where.files(job).items():
        (place / name).write_text(text, encoding="utf-8")
    if where.needs_token:
        _token(place / TOKEN)
    here = str(Path(sys.executable).parent)  # "ray" is this environment's
    env = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
    for command in commands:
        try:
            done = subprocess.run(command, cwd=place, env=env, check=False)
        except FileNotFoundError:
            raise ValueError(
                f"{command[0]!r} is not installed here, and {shlex.join(command)!r} needs it"
                " (--dry-run shows everything that would be sent)"
            ) from None
        if done.returncode:
            print(f"segprint: {shlex.join(command)} ended with {done.returncode}", file=sys.stderr)
            return 1
    return 0


def _token(path: Path) -> None:
    """Make it where there is none; never readable by others, not even for a moment."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
