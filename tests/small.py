"""Networks small enough to train in a test, one of each architecture."""

from __future__ import annotations

from typing import Any

UNET: dict[str, Any] = {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2]}
MODELS: dict[str, dict[str, Any]] = {
    "ensemdiff": UNET,
    "segdiff": {**UNET, "heads": 2, "dense_blocks": 1, "dense_features": 8, "dense_growth": 4},
    "medsegdiff_v1": {**UNET, "map_size": 16},
    "medsegdiff_new": {**UNET, "multipliers": [1, 1, 2, 2]},
}
"""Fields by name; a model that is not here is small as it is."""
