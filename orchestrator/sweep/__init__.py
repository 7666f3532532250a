"""Runs a plan under Ray Tune until nothing is left, or the budget is spent."""
