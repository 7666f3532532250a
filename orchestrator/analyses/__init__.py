"""Answers from Parquet, one file each: ``rows(tables)`` returns the view of the file's name."""
