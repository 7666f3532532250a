"""Metrics on held-out cases, of single cells and of pairs of cells."""
