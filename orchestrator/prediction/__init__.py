"""Prediction: trained models from the store, and their masks of new images."""

from orchestrator.prediction.models import Selected, load, selected

__all__ = ["Selected", "load", "selected"]
