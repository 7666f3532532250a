"""Stores that earlier versions wrote, one folder per schema: complete, sound and read the same.

A folder holds the store as ``store.tar.xz``, the spaces that filled it, and the rows of the view
``leaderboard`` as JSON as that version printed them.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.conftest import Segprint

STORES = Path(__file__).parent / "stores"
FOLDERS = sorted(path for path in STORES.iterdir() if path.is_dir())


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of one version, its store unpacked as ``results``."""
    with tarfile.open(request.param / "store.tar.xz") as archive:
        archive.extractall(tmp_path / "results", filter="data")
    return request.param


def test_nothing_is_left_to_train(folder: Path, inline: Segprint) -> None:
    for space in sorted(folder.glob("*.py")):
        planned = inline("plan", str(space), "--json")
        assert planned.returncode == 0, planned.stderr
        assert not any(cell["to_run"] for cell in json.loads(planned.stdout)["cells"])


def test_the_store_is_sound(folder: Path, inline: Segprint) -> None:
    checked = inline("tables", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 damaged" in checked.stdout + checked.stderr


def test_the_leaderboard_is_the_same(folder: Path, inline: Segprint) -> None:
    shown = inline("query", "SELECT * FROM leaderboard", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    before = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
    assert len(found) == len(before)
    for mine, its in zip(found, before, strict=True):
        assert mine.keys() == its.keys()
        for name, value in its.items():
            # Products of matrices differ in their last bit between processors.
            exact = not isinstance(value, float)
            assert mine[name] == (value if exact else pytest.approx(value, rel=1e-12)), name
