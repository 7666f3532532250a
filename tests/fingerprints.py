"""Ledgers whose fingerprints are known: probes written as numbers, without a network."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.fingerprint.probes import ProbeCurves
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from trainables.schemas import BINS

Array = NDArray[np.float64]
PIXELS, DRAWS = 100, 2
LINEAR = {"mode": {"diffusion": {"schedule": {"linear": {}}}}}


def probes(
    edges: Array,
    with_image: Array,
    without: Array,
    *,
    axis: str = "log_snr",
    gap: Array | None = None,
    ones: float = 0.3,
    x0: float = 0.5,
    **controls: Array,
) -> list[dict[str, Any]]:
    """Rows of these ε-errors per pixel, [cases, strata]; the gap is their difference if unknown."""
    gap = without - with_image if gap is None else gap
    errors = {"image": with_image, "dropped": without, **controls}
    tp = round(ones * PIXELS * DRAWS)
    return [
        {
            **{"case": f"c{i:03}/0,0", "group": "g", "axis": axis, "bin": b, "control": control},
            **{"low": float(edges[b]), "high": float(edges[b + 1])},
            **{"pixels": PIXELS, "draws": DRAWS, f"{axis}_sum": float(edges[b] + edges[b + 1])},
            "x0_error_sum": x0 * PIXELS * DRAWS,
            "eps_error_sum": float(error[i, b]) * PIXELS * DRAWS,
            "eps_gap_sum": float(gap[i, b]) * PIXELS * DRAWS,
            **{"tp": tp, "fp": 0, "fn": 0, "tn": PIXELS * DRAWS - tp},
        }
        for control, error in errors.items()
        for i, b in np.ndindex(*error.shape)
    ]


def commit(
    ledger: Ledger,
    digest: str,
    rows: list[dict[str, Any]],
    *,
    task: str = "task",
    arm: str = "diffusion",
    mode: str = "diffusion",
    model: str = "net",
    cell: str | None = None,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    brier: float = 0.1,
    gap: float = 0.0,
    **more: list[dict[str, Any]],
) -> None:
    """A finished final trial with these probes; its test cases have Dice 0.9, this Brier score and
    this gap between probability and truth.
    """
    config = LINEAR if config is None else config
    about = {"arm": arm, "config": config, "values": {}}
    ledger.studies.describe("study", {"revision": "r1"})
    cell = cell or f"{task}_{arm}"
    ledger.studies.declare(Declared("study", "r1", cell, "final", seed, digest), about)
    trial = {"outcome": "finished", "task": task, "model": model, "mode": mode, "seed": seed}
    trial |= {"schedule": "linear", "config": json.dumps(config), "test_images": 1}
    trial |= {"passes_per_image": 1, "world_size": 1}
    names = sorted({row["case"].partition("/")[0] for row in rows}) or ["c000", "c001"]
    key = {"split": "test", "group": "g", "class": "x", "reading": "sample"}
    cases = [{**key, "case": c, "tp": 27, "fp": 3, "fn": 3, "tn": 67} for c in names]
    sums = {"count": PIXELS, "p_sum": 90.0, "y_sum": 90.0 - gap * PIXELS, "nll_sum": 1.0}
    binned = {**key, **sums, "bin": BINS - 1, "square_sum": brier * PIXELS}
    tables: dict[str, Any] = {
        "trials": [trial],
        "cases": cases,
        "calibration": [{**binned, "case": c} for c in names],
        "probes": rows,
        **more,
    }
    ledger.commit(digest, "finished", tables)


def bump(edges: Array, centre: float, spread: float, bits: float) -> Array:
    """The mean density in each stratum of a Gaussian over λ with so many bits: [strata]."""
    below = np.array([math.erf((e - centre) / spread / math.sqrt(2)) / 2 for e in edges])
    return bits * np.diff(below) / np.diff(edges)


def of_density(edges: Array, density: Array, rest: float = 0.1) -> list[dict[str, Any]]:
    """Probes of networks whose information density is this, [cases, strata], bits per pixel."""
    with_image = np.full_like(density, rest)
    return probes(edges, with_image, with_image + 2 * math.log(2) * density)


def over_t(
    loss: Array,
    runs: NDArray[np.int64] | None = None,
    cases: NDArray[np.int64] | None = None,
    **curves: Array,
) -> ProbeCurves:
    """Curves over t that were never in a store: the ε-errors are given, [rows, strata]."""
    rows, strata = loss.shape
    runs = np.zeros(rows, np.int64) if runs is None else runs
    cases = np.arange(rows) if cases is None else cases
    edges = np.linspace(0, 1, strata + 1)
    return ProbeCurves(
        final=FinalCell("study", "task", "arm", "net", "diffusion", "cell", pd.DataFrame()),
        axis="t",
        schedule="linear",
        digests=[f"run{run}" for run in np.unique(runs)],
        case_names=[f"c{case}" for case in np.unique(cases)],
        runs=runs,
        cases=cases,
        groups=np.zeros(rows, np.int64),
        bins=np.arange(strata),
        low=edges[:-1],
        high=edges[1:],
        present=np.ones(loss.shape, bool),
        at=np.broadcast_to((edges[1:] + edges[:-1]) / 2, loss.shape),
        pixels=np.full(rows, PIXELS),
        pixelwise=None,
        curves={"eps_error": loss, **curves},
    )
