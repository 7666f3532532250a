"""Checks of machines, stores and clusters before a sweep, and of data sets before training."""

from orchestrator.diagnostics.preflight import CheckResult, Checks

__all__ = ["CheckResult", "Checks"]
