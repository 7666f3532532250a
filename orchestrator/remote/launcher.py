"""Writes the files of a remote cluster and runs its commands, or shows both."""

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
from cluster.existing import Existing
from orchestrator.formatting import plural
from orchestrator.remote.package import sources, stage
from orchestrator.remote.refusals import explained

ENDED = {"COMPLETE", "FAILED", "SUCCEEDED", "STOPPED"}
"""States of studies that a cluster still lists after their end."""
MAX_LINES = 1000
"""The last lines of a command's output, which are searched for the reason of a failure."""


def described(name_or_path: str, verb: str) -> Remote:
    """Return a remote cluster by its name or the path of its description.

    Raises:
        ValueError: there is no such cluster, or it is not remote, so that ``verb`` does not apply.
    """
    where = cluster.load(name_or_path)
    if not isinstance(where, Remote):
        kinds = (Remote, Existing) if verb in ("submit", "logs") else (Remote,)
        remote = [name for name in cluster.names() if isinstance(cluster.load(name), kinds)]
        raise ValueError(
            f"{verb} does not apply to cluster {name_or_path!r}: segprint sweep SPACE --on"
            f" {name_or_path} (choices for {verb}: {', '.join(remote)}, or the path of a .py file)"
        )
    return where


def directory(where: Remote, job: Job | None) -> Path:
    """Return the local directory for a cluster's files, which only its owner can read."""
    return Path.home() / ".segprint" / where.directory(job)


def shown(where: Remote, job: Job | None, commands: list[Command]) -> str:
    """Return all files and commands as text, for a dry run."""
    parts = [f"# --- {name}\n{text.rstrip()}\n" for name, text in where.files(job).items()]
    if where.sends_source:
        files = sources()
        size = sum(path.stat().st_size for path in files.values()) / 2**20
        parts.append(f"# --- source/: {plural(len(files), 'file')} of the packages, {size:.1f} MiB")
        if job is not None:
            files_of_user = job.files.items()
            parts += [f"# --- source/{name}\n{text.rstrip()}\n" for name, text in files_of_user]
    if where.needs_token:
        parts.append(f"# --- {TOKEN}: created once, mode 0600, never shown")
    parts.append(f"# --- commands, in {directory(where, job)}")
    parts += [shlex.join(command) for command in commands] or ["# none"]
    return "\n".join(parts)


def launch(
    where: Remote, job: Job | None, commands: list[Command], *, with_source: bool = True
) -> int:
    """Write the files and run the commands until one fails; return 1 if one does, else 0.

    ``with_source`` replaces the sources from which the job runs by those of this machine.

    Raises:
        ValueError: a command is not installed.
    """
    folder = _prepare(where, job, with_source=with_source and bool(commands))
    for command in commands:
        code, output = _run(command, folder, echo=True)
        if code:
            reason = explained(output)
            print(f"segprint: {_named(command)} ended with {code}: {reason}", file=sys.stderr)
            return 1
    return 0


def studies(where: Remote) -> dict[str, str]:
    """Return the states of the studies that a cluster runs or has queued, by name.

    Raises:
        ValueError: a command of the cluster fails.
    """
    folder = _prepare(where, None, with_source=False)
    states: dict[str, str] = {}
    for command in where.status():
        code, output = _run(command, folder, echo=False)
        if code:
            raise ValueError(f"{_named(command)} ended with {code}: {explained(output)}")
        for name, state in re.findall(r"^study (\S+) ?(\S*)", output, re.MULTILINE):
            if state.upper() not in ENDED:
                states[name] = state or "NEW"
    return states


def _prepare(where: Remote, job: Job | None, *, with_source: bool) -> Path:
    """Write the files of a cluster and a job, and a new copy of the source if asked."""
    folder = directory(where, job)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if where.sends_source and with_source:
        stage(job or Job("", (), (), ()), folder / "source")
    for name, text in where.files(job).items():
        (folder / name).write_text(text, encoding="utf-8")
    if where.needs_token:
        _create_token(folder / TOKEN)
    return folder


def _run(command: Command, folder: Path, *, echo: bool) -> tuple[int, str]:
    """Run a command, printing its output if ``echo``; return (exit code, last lines)."""
    scripts = str(Path(sys.executable).parent)  # "ray" must be that of this environment
    path = f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
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
    output = deque[str](maxlen=MAX_LINES)
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.append(line)
                if echo:
                    print(line, end="", flush=True)
        except BaseException:
            process.kill()
            raise
    return process.returncode, "".join(output)


def _named(command: Command) -> str:
    """Return a command for a message: of a shell script, its last line."""
    if command[0] == "bash":
        return command[-1].strip().splitlines()[-1]
    return shlex.join(command)


def _create_token(path: Path) -> None:
    """Create the token unless it exists; other users can never read it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
