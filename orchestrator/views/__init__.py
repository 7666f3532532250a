"""Read-only SQL views over the ledger and its tables."""
