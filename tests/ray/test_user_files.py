"""A part in a file of the user's own, with a neighbour that it imports, trains on a Ray worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import SMALL, Segprint

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SCHEDULE = """
from __future__ import annotations
from dataclasses import dataclass
from torch import Tensor
from my_blocks import TOP
from trainables.schedules import Schedule

@dataclass(frozen=True)
class Line(Schedule):
    def log_snr(self, t: Tensor) -> Tensor:
        return TOP - 2 * TOP * t
"""

LOUD = "import os\nprint('loaded')\nos.system('echo by a child')\n"


def test_neighbours_are_found_on_workers(segprint: Segprint, tmp_path: Path) -> None:
    """So are those of one name in another folder; strict warnings and no asserts change nothing."""
    for folder, top in (("a", 4.0), ("b", 7.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "line.py").write_text(SCHEDULE)
        (tmp_path / folder / "my_blocks.py").write_text(LOUD + f"TOP = {top}\n")
    arms = {f: {"mode.diffusion.schedule": f"./{f}/line.py"} for f in ("a", "b")}
    (tmp_path / "mine.py").write_text(
        f"from search_spaces import Space\nSPACE = Space('?', {SMALL!r}, {arms!r}, gpus=0)\n"
    )
    strict = {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "1"}
    done = segprint("sweep", "./mine.py", "--as", "other", "--json", **strict, timeout=500)
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert (ended["study"], ended["done"]) == ("other", 2)
    assert "loaded" in done.stderr
    assert "by a child" in done.stderr
    first, second = (row["dice"] for row in ended["leaderboard"])
    assert first != second
