"""Which code ran."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
SENT = ROOT / "code-version"
"""Only in copies that were sent to a cluster."""
PACKAGES = ("orchestrator", "trainables", "search_spaces", "cluster")


def code_version() -> str:
    """The commit of the code, with ``+`` where files differ from it or are new.

    Outside a checkout, what a copy that was sent to a cluster says of itself, or the version that
    is installed: a copy inside somebody's repository is not of its commits.
    """
    if SENT.is_file():
        return SENT.read_text(encoding="utf-8").strip()
    if not _git("ls-files", "--", *PACKAGES):
        return f"segprint {version('segprint')}"
    changed = _git("status", "--porcelain", "--", *PACKAGES)
    return f"{_git('rev-parse', '--short=12', 'HEAD')}{'+' if changed else ''}"


def _git(*arguments: str) -> str:
    """What git says; nothing where there is no git or no repository."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
