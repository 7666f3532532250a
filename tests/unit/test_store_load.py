"""A plan whose trials end faster than the store takes their conditional writes is warned of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.ledger import write_rate
from orchestrator.planning.store_load import warnings
from orchestrator.storage.object_store import Store
from tests.conftest import Segprint

HOUR = 3600.0


def measured(url: Path, per_second: float) -> Store:
    store = Store(str(url))
    content = {"per_second": per_second, "host": "head", "at": "2026-01-01T00:00:00+00:00"}
    store.put(write_rate.KEY, json.dumps(content).encode())
    return store


@pytest.mark.parametrize(("per_second", "count"), [(0.9, 1), (1.1, 0), (float("nan"), 0), (-1, 0)])
def test_a_record_per_trial_and_the_compactions_need_about_one_write_per_trial(
    tmp_path: Path, per_second: float, count: int
) -> None:
    found = warnings(measured(tmp_path, per_second), 3600, HOUR)
    assert len(found) == count
    assert all("3,600 trials per hour need 1.0 conditional" in text for text in found)


def test_a_store_that_nobody_measured_is_not_judged(tmp_path: Path) -> None:
    assert warnings(Store(str(tmp_path)), 10**9, HOUR) == []
    assert warnings(measured(tmp_path, 0.001), 0, 0.0) == []


@pytest.mark.slow
def test_plan_says_so_and_names_who_measured(tmp_path: Path, inline: Segprint) -> None:
    store = measured(tmp_path, 1e-6)
    shown = inline("--store", store.url, "plan", "quickstart")
    assert "the store took 1e-06 from head" in " ".join(shown.stdout.split())
    listed = json.loads(inline("--store", store.url, "plan", "quickstart", "--json").stdout)
    assert any("conditional writes per second" in text for text in listed["warnings"])
