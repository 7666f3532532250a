"""Prediction: trained models from the store, and their masks of new images."""

from orchestrator.prediction.models import load, selected
from orchestrator.prediction.selected import Selected

__all__ = ["Selected", "load", "selected"]
