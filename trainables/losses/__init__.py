"""Losses, one file each, that a mode adds to its own."""

from trainables.interfaces.loss import Loss

__all__ = ["Loss"]
