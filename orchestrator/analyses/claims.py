"""Verdicts on the four claims of the source study, with the evidence for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrator.claims.evaluator import claim_rows
from orchestrator.heldout.final_cells import cells_by_study, final_cells
from orchestrator.heldout.metrics import interval_columns

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

TEXTS = ("statement", "metric", "task", "model", "cell", "against")
COUNTS = ("tasks", "seeds", "images", "groups", "units", "passes", "passes_against")
SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("claim", pa.int64()),
        *((k, pa.string()) for k in TEXTS),
        *((k, pa.string()) for k in ("verdict", "as_trained", "why")),
        *((k, pa.float64()) for k in ("value", "value_against")),
        *interval_columns(["difference"]),
        *((k, pa.float64()) for k in ("p", "p_holm")),
        *((k, pa.int64()) for k in COUNTS),
        ("source", pa.string()),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, statement, metric, model and task, and one over the tasks of a model.

    The claims are those of Öttl et al. 2024 (arXiv 2403.14440) about diffusion models: they are
    better calibrated than their feed-forward twins and less accurate than nnU-Net and SegFormer
    (1); at some timesteps the image hardly helps, because the noisy mask suffices (2); the loss
    over timesteps is not monotone (3); each task has its own timestep fingerprint (4).

    ``verdict`` is ``holds``, ``does not hold`` or ``inconclusive``, and ``why`` gives the reason.
    It is conclusive only if the 95 % interval of ``difference`` excludes zero, ``p_holm`` is at
    most 0.05, and most test units of a pair are on the side of the mean. It is inconclusive where
    ``units``, the test units of a task (:func:`orchestrator.statistics.bootstrap.units`), are too
    few for any significant result, and where networks have not converged or are below the grey
    level alone in validation (:mod:`orchestrator.claims.convergence`); ``as_trained`` is the
    verdict on these networks nevertheless. A statement for which the study lacks an arm has one
    row that says so.

    Which arms are compared is read from their configs; of several it is the best in validation
    (:mod:`orchestrator.claims.roles`). ``value`` and ``value_against`` are the numbers compared and
    ``difference`` is the first minus the second: the metric of diffusion minus that of ``against``
    (1, :class:`orchestrator.heldout.paired.Pairs`); the share of the error that the image takes
    away minus 5 % (2), and the change of the loss in the less clear one of a rise and a fall (3),
    both in :mod:`orchestrator.fingerprint.timestep_tests`; the Wasserstein distance of two tasks
    minus that between training seeds of one, in units of λ (4, the view ``distances``; ``task``
    names both). ``p`` is two-sided. ``p_holm`` is adjusted by Holm over the models and tasks of a
    statement and metric, for claims 2 and 3 over all probed cells of the study.

    A row with ``task`` null is over all tasks of a model: a statement holds if it does on each, and
    does not hold if it does not on one. From six tasks on, claim 1 is tested over tasks instead
    (Demšar 2006, JMLR 7:1-30, section 3.1.3): ``difference`` is the mean over tasks with its
    t-interval, and ``p`` that of the signed-rank test.

    ``tasks``, ``seeds``, ``images``, ``groups`` and ``units`` count what a row is computed from.
    ``passes`` and ``passes_against`` are network passes per test image. ``source`` is the query of
    the rows that the evidence is computed from.
    """
    studies = cells_by_study(final_cells(tables))
    found = [
        row.columns for study, cells in studies.items() for row in claim_rows(tables, study, cells)
    ]
    return pa.Table.from_pylist(found, schema=SCHEMA)
