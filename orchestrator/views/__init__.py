"""Views: read-only SQL over the ledger's rows, the declared studies and the analyses."""

from orchestrator.views.catalog import Catalog
from orchestrator.views.sql_sandbox import QueryError

__all__ = ["Catalog", "QueryError"]
