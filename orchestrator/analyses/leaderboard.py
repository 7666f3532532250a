"""Accuracy, calibration and cost of every final arm, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.heldout.final_cells import IDENTITY
from orchestrator.heldout.metrics import HeldOut, interval_columns, load_metrics
from orchestrator.statistics.estimates import columns, known
from trainables.metrics import Metric

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

COSTS = (
    "device_seconds",
    "parameters",
    "macs_per_pass",
    "peak_host_bytes",
    "peak_device_bytes",
    "probe_passes",
)


def schema(metrics: Iterable[Metric] | None = None) -> pa.Schema:
    """The columns of the view: the arm, each metric with its interval, and the costs.

    The metrics are all that have a name, by default.
    """
    keys = [(k, pa.string()) for k in IDENTITY]
    counts = [(k, pa.int64()) for k in ("seeds", "images", "groups", "passes_per_image")]
    costs = [(k, pa.float64()) for k in ("seconds_per_image", "train_device_seconds", *COSTS)]
    last = [("settings", pa.string()), ("trained_on", pa.string())]
    values = interval_columns(m.name for m in (load_metrics() if metrics is None else metrics))
    return pa.schema([*keys, *counts, *values, *costs, *last])


def rows(tables: Catalog) -> pa.Table:
    """One row per study and cell, over its finished final trials, on test cases only.

    Every metric is that of the reading ``sample``; other readings are in the view ``readings``.
    ``METRIC_low`` and ``METRIC_high`` are the ends of its 95 % interval, ``METRIC_method`` is the
    method of it. ``groups`` are the patients, slides or slabs of the ``images``; intervals are over
    groups if there are six or more, else over images
    (:func:`orchestrator.statistics.bootstrap.units`), and over ``seeds``.

    Costs are means over seeds: ``passes_per_image``, network passes per test image;
    ``seconds_per_image``, device-seconds to predict one test image; ``train_device_seconds``, the
    training on all workers; ``device_seconds``, all that a trial took; ``parameters``;
    ``macs_per_pass``, multiply-adds of one network pass; ``peak_host_bytes`` and
    ``peak_device_bytes``; ``probe_passes``, network passes for probing. ``settings`` is the config
    of the first trial as JSON. ``trained_on`` is the data set of the training, which differs from
    ``task`` in an external test.
    """
    held_out = HeldOut(tables, load_metrics(None, tables.metrics))
    found: list[dict[str, Any]] = []
    for cell in held_out.cells:
        trials, first = cell.trials, cell.trials.iloc[0]
        workers = trials["world_size"]
        testing = (trials["test_seconds"] * workers / trials["test_images"]).mean()
        found.append(
            {
                **cell.identity,
                "seeds": held_out.seeds(cell),
                "images": int(first["test_images"]),
                "groups": held_out.groups(cell),
                "passes_per_image": int(first["passes_per_image"]),
                **columns(held_out.measure(cell)),
                "seconds_per_image": known(testing),
                "train_device_seconds": known((trials["train_seconds"] * workers).mean()),
                **{cost: known(trials[cost].mean()) for cost in COSTS},
                "settings": first["config"],
                "trained_on": cell.trained_on,
            }
        )
    found.sort(key=lambda r: (r["study"], r["task"], -r.get("dice", -1.0)))
    return pa.Table.from_pylist(found, schema=schema(held_out.metrics))
