"""The orchestrator: plans a study, trains what is missing, keeps the results and analyses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.notebook import Study, open_store, train
    from orchestrator.prediction import load

__all__ = ["Study", "load", "open_store", "train"]


def __getattr__(name: str) -> Any:
    """Import the public API on first use: every module of the package imports this file first."""
    if name == "load":
        from orchestrator.prediction import load

        return load
    if name in __all__:
        from orchestrator import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
