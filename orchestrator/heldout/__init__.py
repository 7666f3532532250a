"""Metrics of held-out cases: of one cell, and of cells in pairs."""
