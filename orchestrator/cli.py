"""The command line: one word per verb; hyperparameters are never flags."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

VERBS = {
    "ls": "list the choices of a kind, or what is stored",
    "show": "print a space and what it implies, or a committed trial by its digest",
    "plan": "say what a sweep would run, what is done and what it should take; change nothing",
    "run": "train one config here, without Ray; a committed trial again, to compare",
    "sweep": "train whatever a study still lacks; the same command again continues",
    "status": "say how far a study is, from the store alone; or what a cluster has and runs",
    "trials": "list trials, those that a condition selects",
    "query": "run one SELECT over the views",
    "compare": "pair two studies, arms or trials case by case, and say what differs",
    "fingerprint": "print the timestep fingerprints of studies",
    "adapt": "make a noise schedule from a trained model's fingerprint, and a space that tests it",
    "report": "write the report of studies as one HTML page",
    "export": "write a Parquet tree that others read, or a search for optuna-dashboard",
    "note": "note something about a study, tag it, retire it or delete it",
    "tables": "fold, check, rebuild or clean what is stored; list its versions",
    "data": "list, fetch, check or show data sets",
    "up": "start a described cluster",
    "submit": "have a cluster sweep a study; the same command again continues",
    "logs": "follow what a submitted study prints",
    "down": "stop a described cluster; results stay",
    "doctor": "check this machine and the store before a sweep",
}
CLUSTER_HELP = "name of a cluster (see ls clusters), or path of your own .py file"
SPACE_HELP = "name of a space, or path of your own .py file"
WITHOUT_JSON = {"report", "export", "up", "submit", "logs", "down"}
"""Verbs that write files, or pass on what other tools say."""
Parsers = Mapping[str, argparse.ArgumentParser]
"""One of each verb."""


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
    for name in VERBS.keys() - WITHOUT_JSON:
        at[name].add_argument("--json", action="store_true", help="print JSON for a script")
    for add in (_of_configs, _of_sweeps, _of_clusters, _of_results, _of_reports, _of_stores):
        add(at)
    return root


def _of_configs(at: Parsers) -> None:
    """What there is to choose, and one config."""
    at["ls"].add_argument(
        "kind",
        nargs="?",
        help="datasets, models, modes, schedules, samplers, metrics, spaces, clusters, analyses,"
        " views or studies (default: the kinds)",
    )
    at["show"].add_argument("what", metavar="SPACE|DIGEST")
    for name in ("plan", "sweep"):
        at[name].add_argument("space", metavar="SPACE", help=SPACE_HELP)
    at["run"].add_argument(
        "what", metavar="SPACE|DIGEST", help=f"{SPACE_HELP}; or the digest of a committed trial"
    )
    at["run"].add_argument("--cell", help="which cell (default: the first that learns)")
    at["run"].add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value, e.g. train.steps=20 or mode.diffusion.schedule=cosine",
    )
    at["run"].add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads (default: all; of a committed trial, as many as it had)",
    )


def _of_sweeps(at: Parsers) -> None:
    """A whole study."""
    for name in ("plan", "sweep", "submit", "logs"):
        at[name].add_argument(
            "--most", type=int, metavar="N", help="let a space have so many trials (default: 1000)"
        )
    at["sweep"].add_argument("--on", default="local", metavar="CLUSTER", help="default: local")
    at["sweep"].add_argument(
        "--silence",
        type=float,
        metavar="SECONDS",
        help="a trial without a sign of life for so long is killed and tried again (default: 900)",
    )
    at["sweep"].add_argument(
        "--again", action="store_true", help="try anew what was given up after three failures"
    )
    at["sweep"].add_argument(
        "--mirror", choices=("mlflow", "wandb"), help="show the sweep there as well"
    )


def _of_clusters(at: Parsers) -> None:
    """A study elsewhere."""
    at["status"].add_argument(
        "what", metavar="SPACE|CLUSTER", help=f"{SPACE_HELP}; or the same of a cluster"
    )
    for name in ("up", "submit", "logs", "down"):
        at[name].add_argument("cluster", metavar="CLUSTER", help=CLUSTER_HELP)
    for name in ("up", "submit", "status", "logs", "down"):
        at[name].add_argument(
            "--dry-run", action="store_true", help="print exactly what would be sent; send nothing"
        )
    at["doctor"].add_argument(
        "--on", default="local", metavar="CLUSTER", help="look at its nodes too (default: local)"
    )
    at["down"].add_argument("--force", action="store_true", help="even where a study runs")
    for name in ("submit", "logs"):
        at[name].add_argument("space", metavar="SPACE", help=SPACE_HELP)


def _of_results(at: Parsers) -> None:
    """Rows, in a terminal or a file."""
    from orchestrator.commands.output import add_options

    at["query"].add_argument("sql", metavar="SQL")
    for name in ("query", "export"):
        at[name].add_argument(
            "--version", type=int, metavar="N", help="as of a version (see tables versions)"
        )
    at["trials"].add_argument(
        "--where", metavar="SQL", help="a condition, e.g. \"dice > 0.8 AND task LIKE 'nuclei%%'\""
    )
    at["compare"].add_argument(
        "one", metavar="A", help="STUDY, STUDY/ARM, STUDY/CELL, DIGEST, or STUDY@CODE"
    )
    at["compare"].add_argument("other", metavar="B", help="what A is compared with")
    for name in ("trials", "query", "compare"):
        add_options(at[name])
    for name in ("trials", "fingerprint", "report", "export"):
        at[name].add_argument("studies", metavar="STUDY", nargs="*", help="default: all")
    _adapt(at["adapt"])


def _of_reports(at: Parsers) -> None:
    """What is written beside the store."""
    at["report"].add_argument("-o", "--output", default="report.html", metavar="FILE")
    at["report"].add_argument(
        "--figures",
        metavar="DIRECTORY",
        help="charts as SVG, PDF and PNG, tables for LaTeX, the numbers as CSV",
    )
    at["report"].add_argument(
        "--watch",
        type=float,
        metavar="SECONDS",
        help="write it again so often, until no trial is missing",
    )
    at["export"].add_argument(
        "-o",
        "--output",
        required=True,
        metavar="PLACE",
        help="a new directory, s3:// prefix or file",
    )
    at["export"].add_argument(
        "--format",
        default="parquet",
        choices=("parquet", "optuna"),
        help="a tree of studies (default), or a space's searches as an SQLite file of Optuna",
    )


def _of_stores(at: Parsers) -> None:
    """Upkeep: studies, tables, data sets."""
    at["note"].add_argument("study", metavar="STUDY")
    at["note"].add_argument("text", nargs="?", help="replaces the note there is")
    at["note"].add_argument("--tag", action="append", default=[], help="add a tag")
    at["note"].add_argument("--untag", action="append", default=[], help="remove a tag")
    how = at["note"].add_mutually_exclusive_group()
    how.add_argument("--retire", action="store_true", help="leave it out unless it is named")
    how.add_argument("--restore", action="store_true", help="the reverse of --retire")
    how.add_argument(
        "--delete", action="store_true", help="forget its declarations; trials stay in the ledger"
    )
    at["tables"].add_argument("action", choices=("compact", "check", "rebuild", "gc", "versions"))
    at["tables"].add_argument("--quick", action="store_true", help="check: names and sizes only")
    at["tables"].add_argument(
        "--quarantine", action="store_true", help="check: set damaged commits aside"
    )
    at["tables"].add_argument("--force", action="store_true", help="rebuild: without damaged rows")
    at["tables"].add_argument("--dry-run", action="store_true", help="gc: delete nothing")
    at["tables"].add_argument(
        "--keep-days",
        type=float,
        default=7.0,
        metavar="N",
        help="gc: how long unwanted checkpoints and replaced files stay (default: 7)",
    )
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


def _adapt(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("study", metavar="STUDY")
    verb.add_argument("--task", required=True, help="which of its tasks")
    verb.add_argument("--cell", help="which of its diffusion models, if there are several")
    verb.add_argument(
        "-o", "--output", metavar="FILE.py", help="the space (default: adapted_TASK.py)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 done, 1 something failed or is missing, 2 bad input, 130 stopped.

    Bad input and an unreachable store are one line on stderr, never a traceback.
    """
    try:
        options = parser().parse_args(arguments)
        verb = import_module(f"orchestrator.commands.{options.verb}")
        return verb.main(options)
    except ModuleNotFoundError as error:
        # On a cluster: the image or the machine lacks what this needs, or has too old a Python.
        print(
            f"segprint: {sys.executable} (Python {platform.python_version()}) lacks the package"
            f" {error.name!r}: pip install -c constraints.txt . with Python 3.11 or later, on a"
            " cluster into its nodes' image or environment",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return stopped()
    except RuntimeError as error:
        if str(error) == "Query interrupted":  # so DuckDB calls Ctrl-C
            return stopped()
        raise
    except (ValueError, OSError) as error:
        print(f"segprint: {error}", file=sys.stderr)
        return 2


def stopped() -> int:
    """Say how to go on."""
    print("segprint: stopped; the same command continues", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
