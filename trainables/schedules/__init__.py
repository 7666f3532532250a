"""Noise schedules, one file each: log-SNR as a decreasing function of time."""

from trainables.interfaces.schedule import Schedule

__all__ = ["Schedule"]
