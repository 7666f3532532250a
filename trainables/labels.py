"""The labels of pixels: 0 is the background, 1, 2, ... are classes, and one counts nowhere."""

IGNORE = 255
"""The label of a pixel that is of no class: it counts neither in the loss nor in a metric."""

FEW = 100
"""Held-out pixels of a class below which its score is a matter of chance."""
