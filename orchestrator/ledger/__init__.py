"""The ledger: the authoritative record of declared, committed and running trials."""

from orchestrator.ledger.commits import Commit, DamagedError
from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink

__all__ = ["Commit", "DamagedError", "Declaration", "Declared", "Ledger", "LedgerSink"]
