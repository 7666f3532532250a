"""A sweep over users' own files, in the layouts that the readers know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.analyses import open_store
from tests import trees
from tests.conftest import Segprint

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    trees.isic16(root / "isic16", zipped=True)
    trees.monuseg(root / "monuseg")
    trees.her2(root / "her2", classes=3)
    return root


def test_a_sweep_trains_on_three_layouts_and_scores_images_at_native_size(
    segprint: Segprint, data: Path, tmp_path: Path
) -> None:
    space = str(Path(__file__).with_name("space_layouts.py"))
    # Data lie where they do by default, and all paths are relative.
    assert data == tmp_path / "data"
    done = segprint("sweep", space, "--json", timeout=390, SEGPRINT_CACHE="cache")
    assert done.returncode == 0, done.stderr[-3000:]
    board = json.loads(done.stdout)["leaderboard"]
    assert {r["task"] for r in board} == {"isic16", "monuseg", "her2"}
    tables = open_store(str(tmp_path / "results"))
    pixels = tables.sql(
        'SELECT DISTINCT t.task, c."case", c.tp + c.fp + c.fn + c.tn AS pixels FROM cases c'
        " JOIN trials t USING (digest) WHERE c.split = 'test' AND c.reading = 'sample'"
    ).to_pylist()
    assert {r["pixels"] for r in pixels if r["task"] == "isic16"} == {54 * 76, 72 * 102, 96 * 130}
    assert {r["pixels"] for r in pixels if r["task"] == "monuseg"} == {100 * 100}
    found = tables.sql('SELECT DISTINCT "class" FROM cases').to_pylist()
    assert {r["class"] for r in found} == {"lesion", "nucleus", "tumour", "stroma"}
    objects = tables.sql(
        "SELECT sum(i.true_instances) AS n, count(*) AS rows FROM instances i"
        " JOIN trials t USING (digest) WHERE t.task = 'monuseg'"
    ).to_pylist()
    assert objects[0]["n"] > objects[0]["rows"] > 0


def test_a_bad_file_is_named_before_ray_starts(inline: Segprint, data: Path) -> None:
    (data / "monuseg" / "MoNuSegTestData.zip").write_bytes(b"PK\3\4 cut off")
    space = str(Path(__file__).with_name("space_layouts.py"))
    env = {"SEGPRINT_DATA": str(data), "RAY_ADDRESS": "nowhere:1"}
    done = inline("sweep", space, **env)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "MoNuSegTestData.zip" in line
    assert "segprint data check" in line
