"""The store that is used where none is named."""

from __future__ import annotations

import os


def default_store() -> str:
    """Return ``$SEGPRINT_STORE``, or else the directory ``results``."""
    return os.environ.get("SEGPRINT_STORE", "results")
