"""What is read from a store is data: a Python file that stored text names is not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import make_plan
from orchestrator.reproduce import load_trial
from tests.conftest import SMALL, Segprint
from tests.fingerprints import bump, commit, of_density
from tests.unit.test_plan import finish
from trainables.config import parse

EVIL = "raise SystemExit('code from the store was run')\n"
SPACE = f"from search_spaces import Space\nSPACE = Space(question='?', config={SMALL!r})\n"


@pytest.fixture
def evil(tmp_path: Path) -> str:
    path = tmp_path / "evil.py"
    path.write_text(EVIL)
    return str(path)


def naming(kind: str, path: str) -> dict[str, Any]:
    """A config that names a file at one of the places that take a part."""
    plain = parse(SMALL).plain()
    if kind == "schedule":
        plain["mode"] = {"diffusion": {"schedule": {path: {}}}}
    else:
        plain[kind] = {path: {}}
    return plain


@pytest.mark.parametrize("kind", ["task", "model", "mode", "schedule"])
def test_plan_does_not_run_a_file_that_another_revision_declares(
    inline: Segprint,
    ledger: Ledger,
    tmp_path: Path,
    evil: str,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    store = ("--store", ledger.store.url)
    assert inline(*store, "plan", str(tmp_path / "mine.py")).returncode == 0
    cell = make_plan("mine", search_spaces.load(str(tmp_path / "mine.py"))[1], ledger).cells[0]
    slot = Declared("mine", "other", cell.name, "final", 0, "0" * 16)
    declaration: Any = {"arm": cell.arm, "config": naming(kind, evil), "values": {}}
    ledger.studies.declare(slot, declaration)
    finish(ledger, "0" * 16)
    planned = inline(*store, "plan", str(tmp_path / "mine.py"))
    assert planned.returncode == 0, planned.stderr
    assert evil in caplog.text
    assert "is not run" in caplog.text


@pytest.mark.parametrize("kind", ["task", "model", "mode", "schedule"])
def test_run_runs_a_file_that_the_store_names_only_when_it_is_trusted(
    inline: Segprint, ledger: Ledger, evil: str, kind: str
) -> None:
    row = {"outcome": "finished", "config": json.dumps(naming(kind, evil))}
    ledger.commit("0" * 16, "finished", {"trials": [row]})
    run = ("--store", ledger.store.url, "run", "0" * 16)
    refused = inline(*run)
    assert refused.returncode == 2
    assert f"--trust {evil}" in refused.stderr
    assert refused.stderr.count("\n") == 1
    other = inline(*run, "--trust", evil + "x.py")
    assert other.returncode == 2
    assert f"--trust {evil}" in other.stderr
    with pytest.raises(ValueError, match="code from the store was run"):
        load_trial(ledger, "0" * 16, [evil])


def test_adapt_writes_no_space_that_names_a_file_of_the_store(
    inline: Segprint, ledger: Ledger, tmp_path: Path, evil: str
) -> None:
    edges = np.linspace(-8, 8, 161)
    density = np.tile(bump(edges, -1.0, 1.5, 0.2), (3, 1))
    config = parse({**SMALL, "seed": 7}).plain() | {"model": {evil: {}}}
    commit(ledger, "1" * 16, of_density(edges, density), task="synthetic", config=config)
    file = tmp_path / "adapted.py"
    adapt = ("adapt", "study", "--task", "synthetic", "-o", str(file))
    refused = inline("--store", ledger.store.url, *adapt)
    assert refused.returncode == 2
    assert f"--trust {evil}" in refused.stderr
    assert not file.exists()
