"""The orchestrator: plans a study, trains what is missing, keeps the results and analyses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.analyses import open_store
    from orchestrator.prediction.models import load

__all__ = ["load", "open_store"]


def __getattr__(name: str) -> Any:
    if name == "open_store":  # imported late: every module of the package imports this file first
        from orchestrator.analyses import open_store

        return open_store
    if name == "load":
        from orchestrator.prediction.models import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
