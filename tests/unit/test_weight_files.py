"""Exported weights predict without their store; damaged or foreign files are named in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import orchestrator
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.prediction.models import selected
from orchestrator.prediction.weight_files import write_weights
from tests.conftest import Segprint
from trainables.config import Config
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt, outcome_of

Small = Callable[..., Config]


def exported(config: Config, ledger: Ledger, file: Path) -> Path:
    assert outcome_of(attempt(config, LedgerSink(ledger, "c"), WorkerContext())) == "finished"
    write_weights(selected(ledger, config.digest()), file)
    return file


@pytest.mark.parametrize("mode", ["feedforward", {"deep_ensemble": {"networks": 2}}])
def test_a_file_predicts_what_its_trial_does(
    mode: Any, small: Small, ledger: Ledger, tmp_path: Path
) -> None:
    config = small(mode=mode)
    file = exported(config, ledger, tmp_path / "model.safetensors")
    image = next(config.task.scan()).read().pixels
    (expected,) = orchestrator.load(config.digest(), ledger.store.url).predict([image])
    (found,) = orchestrator.load(str(file)).predict([image])
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert np.array_equal(found.uncertainty, expected.uncertainty)


def test_an_ensemble_without_one_of_its_files_is_refused(
    small: Small, ledger: Ledger, tmp_path: Path
) -> None:
    config = small(mode={"deep_ensemble": {"networks": 2}})
    exported(config, ledger, tmp_path / "m.safetensors")
    assert sorted(p.name for p in tmp_path.glob("m*.json")) == ["m-1.json", "m-2.json"]
    with pytest.raises(ValueError, match="reads 2 networks, there are weights of 1"):
        orchestrator.load(str(tmp_path / "m-1.safetensors"))


def test_a_damaged_or_foreign_file_is_named_in_one_line(
    small: Small, ledger: Ledger, tmp_path: Path, inline: Segprint
) -> None:
    file = exported(small(mode="feedforward"), ledger, tmp_path / "m.safetensors")
    about, weights = file.with_suffix(".json"), file.read_bytes()
    content = json.loads(about.read_text())
    PIL.Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "a.png")

    def refused() -> str:
        ended = inline("predict", "m.safetensors", "a.png", "-o", "out")
        assert ended.returncode == 2, ended.stdout
        (line,) = ended.stderr.splitlines()
        assert "m." in line
        return line

    file.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert f"weights {content['sha256'][:16]}" in refused()
    file.write_bytes(weights[:100])
    assert "are damaged: their hash is" in refused()
    file.write_bytes(weights)
    facts = content["data"]
    changes: list[Any] = [
        [],
        {**content, "trial": "\x1b[31m"},
        {**content, "trial": 3},
        {**content, "reading": []},
        {**content, "config": "x"},
        {**content, "data": {**facts, "mean": ["1"]}},
        {**content, "data": {**facts, "std": []}},
        {**content, "data": {**facts, "classes": [["x"]]}},
        {name: value for name, value in content.items() if name != "record"},
    ]
    for changed in changes:
        about.write_text(json.dumps(changed))
        assert "Traceback" not in refused()
    about.write_text("[" * 100_000)
    assert "m.json" in refused()
    about.write_bytes(b"\xff\xfe")
    assert "m.json" in refused()
    about.unlink()
    assert "there is no m.json beside it" in refused()
    file.unlink()
    assert "there is no such file" in refused()
    about.write_text(json.dumps(content))
