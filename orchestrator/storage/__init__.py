"""Bytes by key in a directory or an S3 bucket: written whole or not at all, and retried."""
