"""A command ends where a query goes beyond its limits, though DuckDB cannot be interrupted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HUGE = "SELECT list_sum(range(1, 4000000000))"
ASK = f"""
import sys
from orchestrator import cli
from orchestrator.views import sql_sandbox
setattr(sql_sandbox, sys.argv[1], type(getattr(sql_sandbox, sys.argv[1]))(sys.argv[2]))
sql_sandbox.GRACE_SECONDS = 0.5
sys.exit(cli.main(["--store", sys.argv[3], "query", {HUGE!r}]))
"""


@pytest.mark.parametrize(
    ("limit", "value", "word"),
    [
        ("QUERY_SECONDS", "0.1", "segprint: query: stopped after 1 s\n"),
        ("HARD_MEMORY", str(64 << 20), "segprint: query: stopped at 0.1 GiB of memory\n"),
    ],
)
def test_a_query_that_cannot_be_interrupted_ends_with_its_process(
    tmp_path: Path, limit: str, value: str, word: str
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", ASK, limit, value, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (2, word)
