"""Stores that earlier versions wrote, one folder per schema: sound, read the same, and complete but
for the trials whose formulas changed since.

A folder holds the store as ``store.tar.xz``, the spaces that filled it, and the rows of the view
``leaderboard`` as JSON as that version printed them.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

import search_spaces
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.validation import check
from orchestrator.storage.object_store import Store
from tests.conftest import Segprint
from trainables.part import names

STORES = Path(__file__).parent / "stores"
FOLDERS = sorted(path for path in STORES.iterdir() if path.is_dir())


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of one version, its store unpacked as ``results``."""
    with tarfile.open(request.param / "store.tar.xz") as archive:
        archive.extractall(tmp_path / "results", filter="data")
    return request.param


CHANGED = {"schema6": ("diffusion",), "schema7": (), "schema8": ()}
"""Per store, the modes whose formulas changed after it was written: all their trials are stale."""


def test_only_trials_whose_formulas_changed_are_left_to_train(
    folder: Path, inline: Segprint
) -> None:
    for space in sorted(folder.glob("*.py")):
        planned = inline("plan", str(space), "--json")
        assert planned.returncode == 0, planned.stderr
        found = json.loads(planned.stdout)
        cells = check(search_spaces.load(str(space))[1])
        modes = {cell.name: cell.config(cell.example, {}, seed=0).mode.name for cell in cells}
        stale = {name for name, mode in modes.items() if mode in CHANGED[folder.name]}
        assert {cell["cell"] for cell in found["cells"] if cell["to_run"]} == stale
        if not stale:
            continue
        assert found["outdated"]["changed"] > 0
        assert found["outdated"]["trials"] == 0
        assert "before the data or a formula changed" in inline("plan", str(space)).stdout


YOUNGER = (
    *("dice_foreground", "empty_kept"),
    *("detection_precision", "detection_recall", "detection_f1"),
    *("assd", "hd95", "nsd"),
)
"""The metrics of schema 8."""
ADDED_9 = {
    f"{name}{end}"
    for name in ("area_crps", "dice_annotators")
    for end in ("", "_low", "_high", "_method")
}
ADDED_8 = (
    {f"{name}{end}" for name in YOUNGER for end in ("", "_low", "_high")}
    | {f"{name}_method" for name in names("metrics")}
    | {"trained_on"}
    | ADDED_9
)
ADDED = {"schema6": ADDED_8, "schema7": ADDED_8, "schema8": ADDED_9}
"""Per store, the columns of the leaderboard that are younger."""
WEIGHTS = {"schema6": 0, "schema7": 7, "schema8": 7}
"""Per store, the trainings whose weights it keeps."""


def test_the_store_is_sound(folder: Path, inline: Segprint) -> None:
    checked = inline("tables", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 damaged" in checked.stdout + checked.stderr


def test_the_leaderboard_is_the_same_within_intervals_of_younger_methods(
    folder: Path, inline: Segprint
) -> None:
    shown = inline("query", "SELECT * FROM leaderboard", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    before = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
    assert len(found) == len(before)
    for mine, its in zip(found, before, strict=True):
        assert mine.keys() - its.keys() == ADDED[folder.name]
        assert its.keys() <= mine.keys()
        for name, value in its.items():
            metric, _, end = name.rpartition("_")
            if end in ("low", "high") and folder.name != "schema8":  # by a younger method
                known = its[metric] is not None
                assert not known or mine[f"{metric}_low"] <= its[metric] <= mine[f"{metric}_high"]
                continue
            # Products of matrices differ in their last bit between processors.
            exact = not isinstance(value, float)
            assert mine[name] == (value if exact else pytest.approx(value, rel=1e-12)), name


def test_kept_weights_load(folder: Path, tmp_path: Path) -> None:
    weights = Ledger(Store(str(tmp_path / "results"))).weights
    kept = [weights.load(training) for training in weights.sizes()]
    assert len(kept) == WEIGHTS[folder.name]
    for each in kept:
        assert each is not None
        each.network()
