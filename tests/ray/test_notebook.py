"""The notebook of the docs runs, cell by cell; an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Segprint

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
INTERRUPTED = """
import sys
from orchestrator import Study
from search_spaces import Space

study = Study(Space(
    name="long", question="Does it go on?",
    config={
        "task": {"synthetic": {"size": 16, "cases": 4}}, "mode": "feedforward",
        "model": {"ensemdiff": {"channels": 4, "multipliers": [1, 2], "attention": []}},
        "train": {"steps": 400, "batch": 4, "validate_every": 40}, "probe": {"bins": 0},
    },
))
try:
    study.run()
except KeyboardInterrupt:
    print("INTERRUPTED", flush=True)
print("COMPLETE", study.run().complete)
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / "ipython")}


def test_the_notebook_of_the_docs_runs_and_shows_its_study(
    tmp_path: Path, segprint: Segprint
) -> None:
    script = Path(__file__).with_name("execute_notebook.py")
    done = subprocess.run(
        [sys.executable, script, NOTEBOOK],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown = json.loads(done.stdout)
    html = [cell["text/html"] for cell in shown if "text/html" in cell]
    frames = [text for text in html if "<iframe sandbox" in text]
    assert len(frames) == 2
    assert frames[0].count("&lt;svg") > 4  # Dice, ECE and the fingerprints
    board = next(text for text in html if "<th>dice_low</th>" in text)
    assert "feedforward" in board
    assert "diffusion" in board
    assert "validation Dice" in done.stderr  # the progress bar
    # The command line finds the same study in the same store.
    rows = segprint("query", "SELECT count(*) AS n FROM studies WHERE study = 'discs'", "--json")
    assert json.loads(rows.stdout) == [{"n": 4}]


def test_the_notebook_is_small_and_has_no_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], NOTEBOOK.stat().st_size < 10_000) == (4, True)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert cell.get("outputs", []) == []


def test_an_interrupted_run_raises_and_the_next_one_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", INTERRUPTED],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    steps: list[int] = []
    later: list[int] = []
    seen = ""
    with process, process.stdout as lines:
        for line in lines:
            seen += line
            found = re.search(r"step (\d+) of 400", line)
            if found and seen.count(" of 400") == 1:
                process.send_signal(signal.SIGINT)
            if found:
                (later if "INTERRUPTED" in seen else steps).append(int(found[1]))
    assert "INTERRUPTED" in seen
    assert "COMPLETE True" in seen
    assert later
    assert min(later) > min(steps)
