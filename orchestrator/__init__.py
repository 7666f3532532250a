"""The trunk: plans, sweeps, the ledger, analyses, the report and the command line."""
