"""What must not change unnoticed: digests, schemas, losses, help texts.

A change on purpose is written anew with ``SEGPRINT_GOLDEN=write make test``; a changed digest or
loss also needs a bumped version, or old results are reused for new formulas.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import search_spaces
from orchestrator.arguments import VERBS, parser
from orchestrator.planning.validation import check
from tests import trees
from trainables.config import Config
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import SCHEMAS
from trainables.training.loop import train

HERE = Path(__file__).parent


def golden(name: str, found: Any) -> Any:
    """The stored value; with SEGPRINT_GOLDEN=write, store the found one first."""
    path = HERE / f"{name}.json"
    if os.environ.get("SEGPRINT_GOLDEN") == "write":
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def test_digests_of_every_named_space_stay(
    small: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.monuseg_masks(tmp_path / "monuseg", "Train_Folder/img")  # digests depend on the pixels
    monkeypatch.setenv("SEGPRINT_DATA", str(tmp_path))
    digests = {"small": small(test={"unit": "tiles"}).digest()}
    for name in search_spaces.names():
        for cell in check(search_spaces.load(name)[1]):
            digests[f"{name}/{cell.name}"] = cell.config(cell.example, {}, seed=0).digest()
    assert digests == golden("digests", digests)


def test_schemas_stay() -> None:
    schemas = {
        name: {field.name: str(field.type) for field in schema} for name, schema in SCHEMAS.items()
    }
    assert schemas == golden("schemas", schemas)


@pytest.mark.parametrize("mode", ["feedforward", "diffusion"])
def test_twenty_steps_give_the_same_losses(small: Callable[..., Config], mode: str) -> None:
    config = small(mode=mode, train={"steps": 20, "batch": 4, "validate_every": 1})
    losses: list[float] = []
    for progress in train(config, WorkerContext()):
        losses.append(progress.history[-1]["loss_sum"])
    # Bits differ between CPUs; a changed formula differs far more than this.
    assert losses == pytest.approx(golden(f"losses-{mode}", losses), rel=2e-3)


def test_help_texts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    root = parser()
    (verbs,) = (a for a in root._actions if a.dest == "verb")
    helps = {"segprint": root.format_help().splitlines()}
    helps |= {v: verbs.choices[v].format_help().splitlines() for v in VERBS}  # type: ignore[index]
    assert helps == golden("help", helps)
