"""Hand files and commands of a described cluster to the tools that know it, or only show them."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
from collections import deque
from pathlib import Path

import cluster
from cluster import Command, Job, Remote
from cluster._cloud import TOKEN
from orchestrator.remote.package import sources, stage
from orchestrator.remote.refusals import explained

OVER = {"COMPLETE", "FAILED", "SUCCEEDED", "STOPPED"}
"""States of a study that a cluster still lists, and that is over."""
MOST_LINES = 1000
"""Of what a tool says, kept to tell why it failed."""


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
    return Path.home() / ".segprint" / where.directory(job)


def shown(where: Remote, job: Job | None, commands: list[Command]) -> str:
    """Exactly what would be sent, and what would send it."""
    parts = [f"# --- {name}\n{text.rstrip()}\n" for name, text in where.files(job).items()]
    if where.sends_source:
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
    place = _prepared(where, job, fresh=bool(commands))
    for command in commands:
        code, said = _run(command, place, echo=True)
        if code:
            print(
                f"segprint: {_named(command)} ended with {code}: {explained(said)}", file=sys.stderr
            )
            return 1
    return 0


def studies(where: Remote) -> dict[str, str]:
    """The studies that a cluster runs or has waiting, and how each is.

    Raises:
        ValueError: it does not tell.
    """
    place = _prepared(where, None, fresh=False)
    found: dict[str, str] = {}
    for command in where.status():
        code, said = _run(command, place, echo=False)
        if code:
            raise ValueError(f"{_named(command)} ended with {code}: {explained(said)}")
        for name, state in re.findall(r"^study (\S+) ?(\S*)", said, re.MULTILINE):
            found |= {} if state.upper() in OVER else {name: state or "NEW"}
    return found


def _prepared(where: Remote, job: Job | None, *, fresh: bool) -> Path:
    """The files of a cluster and a job in their place; the source anew where that is asked for."""
    place = folder(where, job)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if where.sends_source and fresh:
        stage(job or Job("", (), (), ()), place / "source")
    for name, text in where.files(job).items():
        (place / name).write_text(text, encoding="utf-8")
    if where.needs_token:
        _token(place / TOKEN)
    return place


def _run(command: Command, place: Path, *, echo: bool) -> tuple[int, str]:
    """The exit code of a command and the last that it said, printed on the way or not."""
    here = str(Path(sys.executable).parent)  # "ray" is this environment's
    path = f"{here}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(
            command,
            cwd=place,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise ValueError(
            f"{command[0]!r} is not installed here, and {shlex.join(command)!r} needs it"
            " (--dry-run shows everything that would be sent)"
        ) from None
    said = deque[str](maxlen=MOST_LINES)
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said.append(line)
                if echo:
                    print(line, end="", flush=True)
        except BaseException:
            process.kill()
            raise
    return process.returncode, "".join(said)


def _named(command: Command) -> str:
    """A command for a message: a script by its last line."""
    if command[0] == "bash":
        return command[-1].strip().splitlines()[-1]
    return shlex.join(command)


def _token(path: Path) -> None:
    """Make it where there is none; never readable by others, not even for a moment."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
