"""What was spent: the cost of every counted trial, whatever its outcome."""

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
    """One row per trial; a trial that two studies share was paid for once, and is here once."""
    return tables["trials"].select(COLUMNS)
