"""The same trials in MLflow: one run per trial, with mean metrics instead of rows per case."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

PARAMS = ("task", "model", "mode", "schedule", "seed", "steps", "device", "data_hash")
METRICS = ("dice", "score", "device_seconds", "train_seconds", "test_seconds", "parameters")
KEYS = ["task", "model", "schedule"]


def search_seconds(trials: pd.DataFrame, expected: pd.DataFrame, folder: Path) -> float:
    """Log trials to an SQLite store and search them; return the seconds of the second search."""
    import mlflow
    from mlflow.entities import Metric, Param

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client: Any = mlflow.MlflowClient()
    experiment = client.create_experiment("segprint")
    began = time.perf_counter()
    for row in trials.to_dict("records"):
        run = client.create_run(experiment).info.run_id
        metrics = [Metric(k, float(row[k]), 0, 0) for k in METRICS if pd.notna(row[k])]
        client.log_batch(run, metrics, [Param(k, str(row[k])) for k in PARAMS])
        client.set_terminated(run, "FINISHED" if row["outcome"] == "finished" else "KILLED")
    print(f"queries: MLflow {mlflow.__version__}: logged in {time.perf_counter() - began:.0f} s")
    means, seconds = pd.DataFrame(), 0.0
    for _ in range(2):
        began = time.perf_counter()
        runs: Any = mlflow.search_runs(
            [experiment], "attributes.status = 'FINISHED'", max_results=len(trials)
        )
        groups = runs.groupby([f"params.{k}" for k in KEYS])
        means = groups[["metrics.dice", "metrics.device_seconds"]].mean()
        seconds = time.perf_counter() - began
    for name in ("dice", "device_seconds"):
        pd.testing.assert_series_equal(
            means[f"metrics.{name}"].reset_index(drop=True), expected[name], check_names=False
        )
    return seconds
