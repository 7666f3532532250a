"""Does what the source study found hold here? Its four claims, one by one, and what tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrator.claims.evidence import ClaimEvaluator
from orchestrator.heldout.final_cells import FinalCell, final_cells

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

TEXTS = ("statement", "metric", "task", "model", "cell", "against")
COUNTS = ("tasks", "seeds", "images", "groups", "units", "passes", "passes_against")
NUMBERS = ("value", "value_against", "difference", "difference_low", "difference_high")
SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("claim", pa.int64()),
        *((k, pa.string()) for k in TEXTS),
        *((k, pa.string()) for k in ("verdict", "as_trained", "why")),
        *((k, pa.float64()) for k in (*NUMBERS, "p", "p_holm")),
        *((k, pa.int64()) for k in COUNTS),
        ("source", pa.string()),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, statement, metric, model and task; and one over its tasks, ``task`` null.

    The claims are those of Öttl et al. 2024 (arXiv 2403.14440) about diffusion models: they are
    better calibrated than their feed-forward twins and less accurate than nnU-Net and SegFormer
    (1); at some timesteps the image hardly helps, as the noisy mask already tells (2); the loss
    over timesteps is not monotone (3); each task has its own timestep fingerprint (4).

    ``verdict`` is ``holds``, ``does not hold`` or ``can not be told``, and ``why`` says why. It is
    told only where the 95 % interval of the paired ``difference`` excludes zero, most test units of
    a pair are on the same side and ``p_holm`` is at most 0.05: Holm over the models and tasks of
    one statement and metric. It is not told where ``units``, the test units of a task
    (:func:`orchestrator.statistics.bootstrap.units`), are too few for any test; nor where networks
    are too little trained to be judged, still learning or below grey levels alone in validation
    (:mod:`orchestrator.claims.convergence`): ``as_trained`` is the verdict on these networks all
    the same. Where a study lacks an arm, that is said instead.

    Which arms are compared is read from their configs, and of several the best in validation is
    taken (:mod:`orchestrator.claims.roles`). ``difference`` is diffusion less ``against`` (1,
    :class:`orchestrator.heldout.paired.Pairs`); the share of the error that the image takes away
    less 5 % (2), the less clear one of a rise and a fall (3), both in
    :mod:`orchestrator.claims.timestep_tests`; the Wasserstein distance of two tasks less that
    between training seeds of one (4, the view ``distances``; ``task`` names both).

    Over its tasks a claim holds if it does on each, and does not if it does not on one. From six
    tasks on (1) is tested over tasks instead (Demšar 2006, JMLR 7:1–30, section 3.1.3):
    ``difference`` is then the mean over tasks with its t-interval, ``p`` of the signed-rank test.
    ``source`` is the query of what a row is made of.
    """
    studies: dict[str, list[FinalCell]] = {}
    for cell in final_cells(tables):
        studies.setdefault(cell.study, []).append(cell)
    found = [
        row for study, mine in studies.items() for row in ClaimEvaluator(tables, study, mine).rows()
    ]
    named = [{k: v for k, v in row.items() if k in SCHEMA.names} for row in found]
    return pa.Table.from_pylist(named, schema=SCHEMA)
