"""Analyses: one SQL view per file, computed over all studies of a store.

The view has the name of the file. The file defines ``rows(tables: Catalog) -> pyarrow.Table``.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.published import open_ledger
from orchestrator.views.catalog import Analysis, Catalog

__all__ = ["catalog", "functions", "names", "open_store"]

HERE = Path(__file__).parent


def names() -> list[str]:
    """The names of the analyses, sorted."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def catalog(ledger: Ledger, studies: tuple[str, ...] = (), version: int | None = None) -> Catalog:
    """All views over the studies of a ledger, or over some of them."""
    return Catalog(ledger, functions(), studies, version)


def functions() -> dict[str, Analysis]:
    """The function of each analysis, by name; its file is imported when it is called."""
    return {name: partial(_rows, name) for name in names()}


def open_store(url: str, *studies: str, version: int | None = None) -> Catalog:
    """All committed results of a store, or those of some studies.

    ``url`` is a directory, that of a published study too, or ``s3://BUCKET/PREFIX``. ``version`` is
    the number of a compaction (``segprint tables versions``); the views then show the rows that
    were in the tables after it.
    """
    return catalog(open_ledger(url), studies, version)


def _rows(name: str, tables: Catalog) -> pa.Table:
    return import_module(f"{__name__}.{name}").rows(tables)
