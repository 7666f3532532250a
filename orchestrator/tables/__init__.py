"""Tables: the ledger's rows in Delta tables, derived from the ledger for speed and rebuildable."""

from orchestrator.tables.committer_lease import BusyError
from orchestrator.tables.compaction import compact_committed, merge_small_files, rebuild
from orchestrator.tables.integrity import Check, Finding
from orchestrator.tables.snapshot import Snapshot

__all__ = [
    "BusyError",
    "Check",
    "Finding",
    "Snapshot",
    "compact_committed",
    "merge_small_files",
    "rebuild",
]
