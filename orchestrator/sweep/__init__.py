"""Sweep: runs a plan under Ray Tune until nothing is left or the budget is spent."""

from orchestrator.sweep.decisions import Decision, Failure, Retries, Retry, TrialEnd, decide

__all__ = ["Decision", "Failure", "Retries", "Retry", "TrialEnd", "decide"]
