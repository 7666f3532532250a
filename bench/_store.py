"""A local store of synthetic attempts, in the form in which workers commit them.

The store is written in bulk: the objects are those of real commits, but they are written directly
to disk without a flush per object. A finished trial has 1,023 rows of calibration and probes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.ledger.commits import Commit, Record, StoredTable
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.parquet import to_parquet
from trainables.schemas import ABOUT, SCHEMA_VERSION, SCHEMAS

TASKS = ("brain", "histology", "isic16", "monuseg", "nuclei")
MODELS = ("ensemdiff", "medsegdiff_new", "medsegdiff_v1", "segdiff")
SCHEDULES = ("cauchy", "cosine", "laplace", "linear", "sigmoid")
STUDIES, TEST, VAL, STEPS, BINS, CALIBRATION = 20, 12, 5, 10, 16, 15
CONFIG = {
    "train": {"batch": 8, "learning_rate": 0.002, "steps": 90, "precision": "float32"},
    "augment": {"flips": True, "rotate": 0.0, "scale": 0.0, "elastic": 0.0, "colour": 0.0},
    "probe": {"bins": BINS, "draws": 2},
    "packages": {f"package_{i}": f"{i}.{i}" for i in range(20)},
}
AT = "2026-11-23T02:21:06+00:00"


def generate(folder: Path, trials: int) -> None:
    """Write trials of 20 studies; 1 in 50 is pruned, and 1 in 100 has a failed attempt as well."""
    for i in range(STUDIES):
        about = json.dumps({"question": "?", "arms": list(MODELS), "revision": "r1"})
        _write(folder / f"studies/study{i:02d}/space.json", about.encode())
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(partial(_attempts, folder, trials), range(trials), chunksize=50):
            pass


def about_of(i: int) -> dict[str, str]:
    """Return task, model, mode and schedule of trial ``i``."""
    task, model, schedule = (
        names[i // step % len(names)] for names, step in ((TASKS, 1), (MODELS, 5), (SCHEDULES, 20))
    )
    return {"task": task, "model": model, "mode": "diffusion", "schedule": schedule}


def digest_of(i: int) -> str:
    """Return the digest of trial ``i``."""
    return hashlib.sha256(str(i).encode()).hexdigest()[:16]


def study_of(i: int, trials: int) -> str:
    """Return the study that declares trial ``i``."""
    return f"study{i * STUDIES // trials:02d}"


def _attempts(folder: Path, trials: int, i: int) -> None:
    """Write the declaration and the commits of trial ``i``."""
    if i % 100 == 1:
        _commit(folder, i, "failed")
    _commit(folder, i, "pruned" if i % 50 == 0 else "finished")
    about, study = about_of(i), study_of(i, trials)
    cell = "-".join(about[k] for k in ("task", "model", "schedule"))
    key = Declared(study, "r1", cell, "final", i, digest_of(i)).key
    value = {"arm": about["model"], "config": {**CONFIG, "seed": i}, "values": {}, "workers": 1}
    _write(folder / key, json.dumps(value, indent=1).encode())


def _commit(folder: Path, i: int, outcome: str) -> None:
    digest, about = digest_of(i), about_of(i)
    attempt = f"20261123T022106{hashlib.sha256(f'{i}{outcome}'.encode()).hexdigest()[:8]}"
    draws = np.random.default_rng([i, outcome == "failed"])
    key = {"digest": digest, "attempt": attempt, **about}
    parts: dict[str, StoredTable] = {}
    for name, columns in _tables(i, outcome, draws).items():
        rows = _typed(name, columns, key)
        value = to_parquet(rows)
        path = f"trials/{digest}/{attempt}/{name}.parquet"
        sha256 = hashlib.sha256(value).hexdigest()
        parts[name] = StoredTable(name, path, sha256, rows.num_rows, len(value))
        _write(folder / path, value)
    at = Commit.key_of(digest, outcome, attempt)
    identity: dict[str, str | None] = {name: about[name] for name in ABOUT}
    record = Record(at, digest, attempt, outcome, SCHEMA_VERSION, AT, identity, parts)
    _write(folder / at, record.dump())


def _tables(i: int, outcome: str, draws: np.random.Generator) -> dict[str, Mapping[str, Any]]:
    """Return the columns of each table, without those of the key."""
    seconds = draws.gamma(4, 20)
    trial = {"outcome": [outcome], "seed": [i], "config": [json.dumps({**CONFIG, "seed": i})]}
    trial |= {"score": [draws.random()], "steps": [90], "best_step": [90], "world_size": [1]}
    trial |= {"device": ["cpu"], "parameters": [636609], "macs_per_pass": [365135872]}
    trial |= {"train_seconds": [seconds], "test_seconds": [seconds / 9], "test_images": [TEST]}
    trial |= {"device_seconds": [seconds * 1.2], "passes_per_image": [12], "packages": ["{}" * 40]}
    loss = 1 / (1 + np.arange(STEPS)) + draws.normal(0, 0.1, STEPS)
    steps = {"step": np.arange(STEPS) * 10, "loss_sum": loss, "loss_count": np.full(STEPS, 80)}
    if outcome != "finished":
        return {"trials": trial, "steps": steps}
    cases = TEST + VAL
    tp = draws.integers(200, 2000, cases)
    counts = {"tp": tp, "fp": tp // draws.integers(2, 9, cases)}
    counts |= {"fn": tp // draws.integers(2, 9, cases), "tn": 4096 - tp}
    found = (TEST + VAL) * CALIBRATION
    n = draws.integers(1, 300, found)
    mean = draws.random(found)
    binned = {"count": n, "p_sum": n * mean, "y_sum": np.round(n * mean)}
    binned |= {"square_sum": n * mean * (1 - mean), "nll_sum": n * mean**2}
    shape = (TEST, 2, BINS, 2)  # cases, axes, strata, controls
    error = np.linspace(0.9, 0.1, BINS)[None, None, :, None] * np.array([0.8, 1.0])
    error = error * draws.gamma(9, 1 / 9, shape) * 2 * 4096
    sums = {f"{k}_sum": (error * f).ravel() for k, f in _SCALES.items()}
    hits = draws.integers(0, 4096, (4, TEST * 2 * BINS * 2))
    return {
        "trials": trial,
        "steps": steps,
        "cases": {**_cases(1), **counts},
        "samples": {**_cases(1, reading=False), "truth_iou_sum": draws.random(cases)},
        "calibration": {**_cases(CALIBRATION), **binned},
        "probes": {**_strata(), **sums, **dict(zip(("tp", "fp", "fn", "tn"), hits, strict=True))},
    }


_SCALES = {"eps_error": 1.0, "x0_error": 0.7, "x0_gap": 0.2, "eps_gap": 0.3, "t": 1e-4}


@cache
def _cases(each: int, *, reading: bool = True) -> dict[str, Sequence[Any]]:
    """Return the identifying columns of held-out cases, ``each`` rows per case."""
    at = np.repeat(np.arange(TEST + VAL), each)
    columns: dict[str, Sequence[Any]] = {
        "split": ["test" if c < TEST else "val" for c in at],
        "case": [f"patient{c // 2}/{c},64" for c in at],
        "group": [f"patient{c // 2}" for c in at],
        "class": ["nucleus"] * len(at),
    }
    if reading:
        columns["reading"] = ["sample"] * len(at)
    if each > 1:
        columns["bin"] = [80 * k + 3 for _ in range(TEST + VAL) for k in range(each)]
    return columns


@cache
def _strata() -> dict[str, Sequence[Any]]:
    """Return the identifying columns of probes."""
    place = np.indices((TEST, 2, BINS, 2)).reshape(4, -1)
    case, axis, stratum, control = place
    return {
        "case": [f"patient{c // 2}/{c},64" for c in case],
        "group": [f"patient{c // 2}" for c in case],
        "axis": [("log_snr", "t")[a] for a in axis],
        "bin": stratum.tolist(),
        "low": (stratum / BINS).tolist(),
        "high": ((stratum + 1) / BINS).tolist(),
        "control": [("image", "dropped")[c] for c in control],
        "pixels": [4096] * len(case),
        "draws": [2] * len(case),
    }


def _typed(name: str, columns: Mapping[str, Any], key: Mapping[str, str]) -> pa.Table:
    count = len(next(iter(columns.values())))
    return pa.Table.from_arrays(
        [
            pa.array([key[f.name]] * count, f.type)
            if f.name in key
            else pa.array(columns[f.name], f.type)
            if f.name in columns
            else pa.nulls(count, f.type)
            for f in SCHEMAS[name]
        ],
        schema=SCHEMAS[name],
    )


def _write(path: Path, value: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value)
