"""The record of truth: which trials are declared, committed and in flight."""
