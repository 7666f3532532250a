"""The command line: one word per verb; hyperparameters are never flags."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "ls": "list the choices of a kind, or what is stored",
    "show": "print a space's cells, or a committed trial by its digest",
    "plan": "say what a sweep would run, what is done and what it should take; change nothing",
    "run": "train one config of a space here, without Ray, for debugging",
    "sweep": "train whatever a study still lacks; the same command again continues",
    "status": "say how far a study is, from the store alone",
    "query": "run one SELECT over the views",
    "fingerprint": "print the timestep fingerprints of studies",
    "report": "write the report of studies as one HTML page",
    "data": "list, fetch, check or show data sets",
    "doctor": "check this machine and the store before a sweep",
}
SPACE_HELP = "name of a space, or path of your own .py file"


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    root = argparse.ArgumentParser(
        prog="segprint", description="Experiments in diffusion segmentation of medical images."
    )
    root.add_argument(
        "--store",
        default=os.environ.get("SEGPRINT_STORE", "results"),
        help="directory or s3://BUCKET/PREFIX of the results"
        " (default: $SEGPRINT_STORE, else ./results)",
    )
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    at = {name: verbs.add_parser(name, help=text, description=text) for name, text in VERBS.items()}
    for name in (
        "ls",
        "show",
        "plan",
        "run",
        "sweep",
        "status",
        "query",
        "fingerprint",
        "data",
        "doctor",
    ):
        at[name].add_argument("--json", action="store_true", help="print JSON for a script")

    at["ls"].add_argument(
        "kind",
        nargs="?",
        help="datasets, models, modes, schedules, samplers, metrics, spaces, clusters, analyses,"
        " views or studies (default: the kinds)",
    )
    at["show"].add_argument("what", metavar="SPACE|DIGEST")
    for name in ("plan", "run", "sweep", "status"):
        at[name].add_argument("space", metavar="SPACE", help=SPACE_HELP)
    at["run"].add_argument("--cell", help="which cell (default: the first that learns)")
    at["run"].add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value, e.g. train.steps=20 or mode.diffusion.schedule=cosine",
    )
    at["sweep"].add_argument("--on", default="local", metavar="CLUSTER", help="default: local")
    at["query"].add_argument("sql", metavar="SQL")
    for name in ("fingerprint", "report"):
        at[name].add_argument("studies", metavar="STUDY", nargs="*", help="default: all")
    at["report"].add_argument("-o", "--output", default="report.html", metavar="FILE")
    at["data"].add_argument("action", choices=("ls", "get", "check", "show"))
    at["data"].add_argument(
        "names",
        metavar="NAME|PATH",
        nargs="*",
        help="a data set, a .py file of yours, or (check, show) a folder or s3:// URL",
    )
    at["data"].add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="e.g. at=/data/kvasir"
    )
    at["data"].add_argument("-o", "--output", metavar="FILE", help="the sheet (default: NAME.png)")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 done, 1 something failed or is missing, 2 bad input, 130 stopped.

    Bad input and an unreachable store are one line on stderr, never a traceback.
    """
    options = parser().parse_args(arguments)
    try:
        verb = import_module(f"orchestrator.commands.{options.verb}")
        return verb.main(options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("segprint: stopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"segprint: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
