"""The ledger: the record of truth of which trials are declared, committed and in flight."""

from orchestrator.ledger.commits import Commit, DamagedError
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.ledger.studies import Declaration, Declared

__all__ = ["Commit", "DamagedError", "Declaration", "Declared", "Ledger", "LedgerSink"]
