"""Checks of machines, stores and clusters before a sweep, and of data sets before training."""
