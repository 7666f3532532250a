"""The confidence level of all intervals, and the significance level of all tests."""

from __future__ import annotations

CONFIDENCE = 0.95
"""Probability with which an interval should cover the true value."""
ALPHA = 0.05
"""An adjusted p-value of at most this is significant."""
FEWEST_UNITS = 2
"""The fewest units whose spread is known."""
