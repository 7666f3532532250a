"""Provenance: the version of the code that runs."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
SENT = ROOT / "code-version"
"""A file that only copies on a cluster have: the version of the code that was sent."""
PACKAGES = ("orchestrator", "trainables", "search_spaces", "cluster")


def code_version() -> str:
    """Return the commit of the code, with ``+`` where files differ from it or are new.

    A copy that was sent to a cluster returns the version that was sent with it. Code that its
    repository does not track, such as an installed package, returns the installed version.
    """
    if SENT.is_file():
        return SENT.read_text(encoding="utf-8").strip()
    if not _git("ls-files", "--", *PACKAGES):
        return f"segprint {version('segprint')}"
    changed = _git("status", "--porcelain", "--", *PACKAGES)
    return f"{_git('rev-parse', '--short=12', 'HEAD')}{'+' if changed else ''}"


def _git(*arguments: str) -> str:
    """Return git's output; empty where there is no git or no repository."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
