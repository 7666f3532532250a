"""The parser of all verbs. Hyperparameters belong to spaces; no option sets one for a study."""

from __future__ import annotations

import argparse
import os

from orchestrator.arguments import configs, results, stores, studies
from orchestrator.arguments._names import LONG_TABLES, VERBS, WITHOUT_JSON, WITHOUT_STORE
from orchestrator.arguments._parsing import Parser, PrintVersion

GROUPS = (
    configs.add_configs,
    configs.add_weights,
    studies.add_readings,
    studies.add_sweeps,
    studies.add_clusters,
    results.add_results,
    results.add_reports,
    stores.add_stores,
)
"""Functions that add the options of a group of verbs."""


STORE_HELP = (
    "directory or s3://BUCKET/PREFIX of the results (default: $SEGPRINT_STORE, else ./results)"
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs and their options."""
    root = Parser(
        prog="segprint", description="Experiments in diffusion segmentation of medical images."
    )
    root.add_argument(
        "--version", action=PrintVersion, nargs=0, help="print the version of the code and exit"
    )
    root.add_argument(
        "--store", default=os.environ.get("SEGPRINT_STORE", "results"), help=STORE_HELP
    )
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    at = {name: verbs.add_parser(name, help=text, description=text) for name, text in VERBS.items()}
    for name in VERBS.keys() - WITHOUT_STORE:  # the option may also stand after the verb
        at[name].add_argument("--store", default=argparse.SUPPRESS, help=STORE_HELP)
    for name in VERBS.keys() - WITHOUT_JSON:
        at[name].add_argument("--json", action="store_true", help="print JSON for a script")
    for name in LONG_TABLES:
        at[name].add_argument(
            "--all", action="store_true", help="print every row, not only those that fit the screen"
        )
    for add in GROUPS:
        add(at)
    return root
