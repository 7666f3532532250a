"""Reproduction: a committed trial is trained again, without a cluster, and compared."""

from orchestrator.reproduce.comparison import Reproduction, reproduction
from orchestrator.reproduce.trial import InMemorySink, StoredTrial, load_trial, train_again

__all__ = [
    "InMemorySink",
    "Reproduction",
    "StoredTrial",
    "load_trial",
    "reproduction",
    "train_again",
]
