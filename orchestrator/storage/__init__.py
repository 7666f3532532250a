"""Storage: bytes by key in a directory or an S3 bucket, written whole or not at all."""

from orchestrator.storage.object_store import Store, StoreError

__all__ = ["Store", "StoreError"]
