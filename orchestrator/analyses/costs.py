"""Time, memory and network passes of every committed trial, whatever its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

COLUMNS = (
    *("digest", "task", "model", "mode", "schedule", "seed", "outcome", "steps", "parameters"),
    *("device", "world_size", "device_seconds", "train_seconds", "validate_seconds"),
    *("test_seconds", "probe_seconds", "test_images", "passes_per_image", "macs_per_pass"),
    *("peak_host_bytes", "peak_device_bytes", "started_at", "ended_at"),
)


def rows(tables: Catalog) -> pa.Table:
    """One row per trial; a trial that two studies share is counted once.

    ``outcome`` is ``finished``, ``pruned``, ``failed`` or ``diverged``; ``steps`` are the training
    steps made. ``device_seconds`` are wall-clock seconds times workers; ``train_seconds``,
    ``validate_seconds``, ``test_seconds`` and ``probe_seconds`` are the wall-clock parts.
    ``passes_per_image`` are network passes per test image, ``macs_per_pass`` multiply-adds of one
    pass, ``parameters`` those that are trained. ``peak_host_bytes`` and ``peak_device_bytes`` are
    the highest memory use of a worker, in bytes.
    """
    return tables["trials"].select(COLUMNS)
