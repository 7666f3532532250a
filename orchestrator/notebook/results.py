"""The committed results of a store as data frames, figures and trained models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.analyses import functions, own_metrics
from orchestrator.commands.trials import listed
from orchestrator.heldout.final_cells import frame
from orchestrator.prediction.models import selected
from orchestrator.report import build_sections, render_inline
from orchestrator.storage.location import default_store
from orchestrator.tables.published_store import open_ledger
from orchestrator.views.catalog import Catalog
from trainables.training.trained_model import TrainedModel


class Results(Catalog):
    """All committed results of a store, or those of some studies."""

    def query(self, sql: str) -> pd.DataFrame:
        """Return the rows of one SELECT over the views.

        Raises:
            QueryError: the SQL is wrong, is not one SELECT, or took too long.
        """
        return frame(self.sql(sql))

    def leaderboard(self) -> pd.DataFrame:
        """Return the view ``leaderboard``: one row per study and cell, best Dice first."""
        return frame(self["leaderboard"])

    def trials(self, where: str | None = None) -> pd.DataFrame:
        """Return one row per committed trial and study that satisfies a condition in SQL.

        Raises:
            QueryError: the condition is wrong.
        """
        return frame(listed(self, where))

    def load(self, what: str, trust: Sequence[str] = ()) -> TrainedModel:
        """Return the trained model of a digest, ``STUDY/ARM`` or ``STUDY/CELL``.

        ``trust`` are Python files that the stored config may name.

        Raises:
            ValueError: there is no such trial, its weights are not kept or damaged, or its code
                has changed since.
        """
        return selected(self.ledger, what).model(trust)

    def figures(self, *sections: str) -> Figures:
        """Return sections of the report, all by default; a notebook shows them.

        Raises:
            ValueError: there is no such section.
        """
        title = ", ".join(self.studies) or "all studies"
        return Figures(render_inline(build_sections(self, sections), title))


@dataclass(frozen=True, repr=False)
class Figures:
    """Charts and tables that a notebook shows."""

    html: str
    """A frame without scripts."""

    def _repr_html_(self) -> str:
        return self.html


def open_store(
    url: str | None = None,
    *studies: str,
    version: int | None = None,
    metrics: Sequence[str] = (),
) -> Results:
    """Return all committed results of a store, or those of some studies.

    ``url`` is a directory or ``s3://BUCKET/PREFIX``; None: that of :func:`default_store`.
    ``version`` is the number of a compaction (``segprint tables versions``); the views then show
    the rows that were in the tables after it. ``metrics`` are paths of files with metrics of one's
    own, which the views of metrics then have too.
    """
    ledger = open_ledger(url or default_store())
    return Results(ledger, functions(), studies, version, own_metrics(metrics))
