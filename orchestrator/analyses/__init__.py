"""Analyses: one SQL view per file, computed over all studies of a store.

The view has the name of the file. The file defines ``rows(tables: Catalog) -> pyarrow.Table``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.published_calibration import PUBLISHED_BINS
from orchestrator.tables.published_store import PublishedStore, open_ledger
from orchestrator.views.catalog import Analysis, Catalog

__all__ = ["catalog", "functions", "names", "open_store"]

HERE = Path(__file__).parent


def names() -> list[str]:
    """The names of the analyses, sorted."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def catalog(
    ledger: Ledger,
    studies: tuple[str, ...] = (),
    version: int | None = None,
    metrics: tuple[str, ...] = (),
) -> Catalog:
    """All views over the studies of a ledger, or over some of them.

    Raises:
        ValueError: the file of one of the user's ``metrics`` breaks a rule, or the metric needs
            finer bins than those of a published study.
    """
    checked = own_metrics(metrics)
    if isinstance(ledger.store, PublishedStore):
        _require_published_bins(checked)
    return Catalog(ledger, functions(), studies, version, checked)


def _require_published_bins(metrics: Iterable[str]) -> None:
    """Raise ``ValueError`` for a metric whose bins are not made of whole published ones."""
    from orchestrator.heldout.metrics import load_metric

    for path in metrics:
        metric = load_metric(path)
        bins = metric.resolution if metric.table == "calibration" else None
        if bins and PUBLISHED_BINS % bins:
            raise ValueError(
                f"metric {path!r} has {bins} bins, which must divide the {PUBLISHED_BINS} bins of a"
                " published study; use the store that the study was trained in"
            )


def own_metrics(paths: Iterable[str]) -> tuple[str, ...]:
    """Check the metrics in users' files, which the views are to have in addition; return the paths.

    Raises:
        ValueError: a text is not the path of a file, or the file breaks a rule.
    """
    from orchestrator.heldout.metrics import load_metrics  # pandas takes a second to import

    checked = tuple(dict.fromkeys(paths))
    for path in checked:
        if not path.endswith(".py"):
            raise ValueError(
                f"metric {path!r} must be the path of a .py file with a metric of your"
                " own: the views have the others already"
            )
    load_metrics((), checked)
    return checked


def functions() -> dict[str, Analysis]:
    """The function of each analysis, by name; its file is imported when it is called."""
    return {name: partial(_rows, name) for name in names()}


def open_store(
    url: str, *studies: str, version: int | None = None, metrics: Iterable[str] = ()
) -> Catalog:
    """All committed results of a store, or those of some studies.

    ``url`` is a directory, that of a published study too, or ``s3://BUCKET/PREFIX``. ``version`` is
    the number of a compaction (``segprint tables versions``); the views then show the rows that
    were in the tables after it. ``metrics`` are paths of files with metrics of one's own, which
    views of metrics then have too.
    """
    return catalog(open_ledger(url), studies, version, tuple(metrics))


def _rows(name: str, tables: Catalog) -> pa.Table:
    return import_module(f"{__name__}.{name}").rows(tables)
