"""Shells complete verbs, options and names; ``python -m`` and ``--help`` work, fast."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.arguments import VERBS
from orchestrator.commands.completion import script
from tests.conftest import ROOT

HELP_SECONDS = 0.5


def completed(folder: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    (folder / "script").write_text(script("bash"))
    listed = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {folder}/script; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1};"
        ' _shtab_segprint; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, cwd=folder, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pl"], {"plan"}),
        (["report", "--se"], {"--serve"}),
        (["plan", "quick"], {"quickstart", "quick_mine.py"}),
        (["ls", "vie"], {"views"}),
        (["up", "slu"], {"slurm"}),
        (["data", "ch"], {"check"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "quick_mine.py").touch()
    assert completed(tmp_path, "segprint", *words) == expected


def test_every_verb_is_offered_by_both_shells(tmp_path: Path) -> None:
    assert completed(tmp_path, "segprint", "") >= set(VERBS)
    zsh = script("zsh")
    assert all(re.search(rf"^ +{verb}:'", zsh, re.MULTILINE) for verb in VERBS)


def test_help_by_the_module_is_fast(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "orchestrator", "--help"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=env, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "usage: segprint" in done.stdout
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < HELP_SECONDS
