"""The sections of the report, one file each: ``section(tables, naming)`` gives it, or None."""
