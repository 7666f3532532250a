"""What the report is given to show: one trial per cell, cases by name, strips clean to noise."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.analyses import catalog
from orchestrator.heldout.final_cells import final_cells
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.report.sample_images import LEVEL_KINDS, STILL_KINDS, samples
from orchestrator.tables import compaction
from orchestrator.views.catalog import Catalog

LEVELS = (-9.0, 4.0, 0.0, -2.5)


def pictures(mark: str, *, strip: bool) -> list[dict[str, Any]]:
    """Of two cases, in an order that helps nobody; the bytes say what they are."""
    made: list[tuple[str, float | None]] = [(kind, None) for kind in STILL_KINDS]
    made += [(kind, level) for level in LEVELS for kind in LEVEL_KINDS if strip]
    return [
        {
            "case": case,
            "kind": kind,
            "log_snr": level,
            "t": None if level is None else 0.5,
            "width": 3,
            "height": 2,
            "png": f"{mark} {case} {kind} {level}".encode(),
        }
        for case in ("c1", "c0")
        for kind, level in reversed(made)
    ]


def commit(ledger: Ledger, digest: str, arm: str, seed: int, rows: list[dict[str, Any]]) -> None:
    about = {"arm": arm, "config": {}, "values": {}}
    ledger.studies.describe("study", {"revision": "r1"})
    ledger.studies.declare(Declared("study", "r1", f"task_{arm}", "final", seed, digest), about)
    trial = {"outcome": "finished", "task": "task", "model": "net", "mode": "m", "seed": seed}
    ledger.commit(digest, "finished", {"trials": [trial], "pictures": rows})


@pytest.fixture
def tables(ledger: Ledger) -> Catalog:
    commit(ledger, "b", "noisy_arm", 1, pictures("b", strip=True))
    commit(ledger, "a", "noisy_arm", 0, pictures("a", strip=True))
    compaction.compact_committed(ledger.store)
    commit(ledger, "c", "twin", 0, pictures("c", strip=False))
    commit(ledger, "d", "older", 0, [])
    return catalog(ledger)


def test_each_cell_shows_its_first_seeds_cases_by_name(tables: Catalog) -> None:
    found = samples(tables)
    assert [(s.arm, s.digest, s.case) for s in found] == [
        ("noisy_arm", "a", "c0"),
        ("noisy_arm", "a", "c1"),
        ("twin", "c", "c0"),
        ("twin", "c", "c1"),
    ]
    assert [(s.arm, s.case) for s in samples(tables, most=1)] == [
        ("noisy_arm", "c0"),
        ("twin", "c0"),
    ]
    only = [cell for cell in final_cells(tables) if cell.arm == "twin"]
    assert {s.arm for s in samples(tables, only)} == {"twin"}


def test_a_strip_goes_from_clean_to_noise_and_every_picture_has_its_words(tables: Catalog) -> None:
    first, *_, twin = samples(tables)
    assert list(first.stills) == list(twin.stills) == list(STILL_KINDS)
    assert list(first.levels) == list(LEVEL_KINDS)
    assert twin.levels == {}
    for kind, made in first.levels.items():
        assert [p.log_snr for p in made] == sorted(LEVELS, reverse=True)
        assert [p.png for p in made] == [f"a c0 {kind} {p.log_snr}".encode() for p in made]
    truth, last = first.stills["truth"], first.levels["denoised"][-1]
    assert (truth.png, truth.log_snr, truth.t) == (b"a c0 truth None", None, None)
    assert truth.alt == "task, noisy arm, c0: true mask"
    assert last.alt == "task, noisy arm, c0: denoised with the image at log-SNR -9.0"
    assert (last.width, last.height, last.t) == (3, 2, 0.5)
