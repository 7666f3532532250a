"""Delta tables that are made from the ledger for speed, and can be rebuilt from it."""
