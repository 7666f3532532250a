"""Planning: the cells of a space, the trials that are left to run, and their cost."""

from orchestrator.planning.selection import Standing
from orchestrator.planning.trial_state import State

__all__ = ["Standing", "State"]
