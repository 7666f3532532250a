"""Modes, one file each: how a network is trained and how it predicts."""

from trainables.interfaces.mode import Batch, Mode, Prediction, SamplingMode

__all__ = ["Batch", "Mode", "Prediction", "SamplingMode"]
