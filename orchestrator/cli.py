"""The command line. Hyperparameters belong to spaces; no option sets one for a whole study."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from orchestrator.formatting import printable

VERBS = {
    "ls": "list the choices of a kind, or what is stored",
    "show": "print a space and the trials it describes, or a committed trial by its digest",
    "plan": "show what a sweep would run, what is done and the estimated cost; change nothing",
    "run": "train one config here, without Ray, or reproduce a committed trial",
    "sweep": "train what a study still lacks; the same command again continues",
    "status": "show the progress of a study, from the store alone, or the state of a cluster",
    "trials": "list committed trials, filtered by a condition",
    "query": "run one SELECT over the views",
    "compare": "compare two studies, arms or trials, paired over test cases",
    "fingerprint": "print the timestep fingerprints of studies",
    "adapt": "derive a noise schedule from a model's fingerprint, and write a space that tests it",
    "predict": "segment images with the kept weights of a trial",
    "evaluate": "test the kept networks of a study on another data set, without training",
    "probe": "measure a finer fingerprint of the kept networks of a study, without training",
    "read": "measure a study's kept networks again where newer code measures more",
    "weights": "list the kept weights, export those of a trial, or import published ones",
    "report": "write the results of studies as one HTML page",
    "export": "write a Parquet tree for other programs, or a search for optuna-dashboard",
    "note": "write a note on a study, tag it, retire it or delete its declarations",
    "delete": "delete trials or studies with what only they need; without --yes only say what",
    "tables": "compact, check, rebuild or clean the stored tables; list their versions",
    "data": "list, download, check or show data sets",
    "up": "start a described cluster",
    "submit": "sweep a study on a cluster; the same command again continues",
    "logs": "follow the output of a submitted study",
    "down": "stop a described cluster; results stay",
    "doctor": "check this machine and the store before a sweep",
}
CLUSTER_HELP = "name of a cluster (see ls clusters), or path of your own .py file"
SPACE_HELP = "name of a space, or path of your own .py file"
LONG_TABLES = ("ls", "plan", "status", "trials", "query", "compare", "tables")
"""Verbs whose tables can be longer than a terminal."""
TABLE_FORMATS = ("table", "json", "csv", "parquet", "markdown", "md")
"""The formats of one table, listed here because the code that writes them loads its libraries."""
PASSED_ON = {"up", "submit", "logs", "down"}
"""Verbs that pass on the output of other tools."""
WITHOUT_JSON = {"report", "export", *PASSED_ON}
"""Verbs that write files or pass on the output of other tools."""
READERS = ("evaluate", "probe", "read")
"""Verbs that derive a study of readings from another study, and run it."""
Parsers = Mapping[str, argparse.ArgumentParser]
"""The parser of each verb, by name."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs and their options."""
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
    for name in LONG_TABLES:
        at[name].add_argument(
            "--all", action="store_true", help="print every row, not only those that fit the screen"
        )
    for add in (_configs, _weights, _readings, _sweeps, _clusters, _results, _reports, _stores):
        add(at)
    return root


def _configs(at: Parsers) -> None:
    """Add the options of verbs on spaces and single configs."""
    at["ls"].add_argument(
        "kind",
        nargs="?",
        help="datasets, models, modes, schedules, samplers, metrics, fields, spaces, clusters,"
        " analyses, views or studies (default: the kinds)",
    )
    at["ls"].add_argument(
        "part",
        nargs="?",
        metavar="PART",
        help="fields: a block (train, test, probe), a kind or a part, e.g. diffusion",
    )
    at["show"].add_argument(
        "--config", metavar="CELL", help="print the complete config of a cell of the space"
    )
    at["show"].add_argument("what", metavar="SPACE|DIGEST")
    for name in ("plan", "sweep"):
        at[name].add_argument("space", metavar="SPACE", help=SPACE_HELP)
    at["run"].add_argument(
        "what", metavar="SPACE|DIGEST", help=f"{SPACE_HELP}; or the digest of a committed trial"
    )
    at["run"].add_argument("--cell", help="the cell (default: the first that trains)")
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
        help="CPU threads (default: all; for a committed trial as many as it had)",
    )
    for name in ("run", "adapt", "predict", *READERS):
        at[name].add_argument(
            "--trust",
            action="append",
            default=[],
            metavar="FILE",
            help="run this .py file if the stored config names it",
        )


def _weights(at: Parsers) -> None:
    """Add the options of verbs that read kept weights."""
    at["predict"].add_argument(
        "what",
        metavar="DIGEST|STUDY/ARM|FILE",
        help="a finished trial; of several the best by score; or FILE.safetensors",
    )
    at["predict"].add_argument(
        "images", metavar="IMAGE", nargs="+", help="image files, volumes, or directories of them"
    )
    at["predict"].add_argument(
        "-o", "--output", required=True, metavar="DIRECTORY", help="where masks are written"
    )
    at["weights"].add_argument("action", choices=("ls", "export", "import"))
    at["weights"].add_argument(
        "what",
        metavar="DIGEST|STUDY/ARM|FILE",
        nargs="?",
        help="export: a finished trial; import: the checkpoint of a published network",
    )
    at["weights"].add_argument(
        "-o",
        "--output",
        metavar="FILE.safetensors",
        help="export, import: a JSON is written beside it",
    )
    at["weights"].add_argument(
        "--config", metavar="SPACE", help="import: the space that describes the network"
    )
    at["weights"].add_argument("--cell", help="import: its cell (default: the first that trains)")
    at["weights"].add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="import: replace a value"
    )
    for name in ("mean", "std"):
        at["weights"].add_argument(
            f"--{name}",
            metavar="NUMBERS",
            help=f"import: {name} of the images' stored values, for all channels or each"
            " (default: as the published program normalises)",
        )
    at["predict"].add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: all)"
    )


def _readings(at: Parsers) -> None:
    """Add the options of verbs that read the networks of a study in another way."""
    for name in READERS:
        at[name].add_argument(
            "what", metavar="STUDY[/ARM]", help="a study, or one of its arms or cells"
        )
        at[name].add_argument(
            "--train", action="store_true", help="train again the networks that are not kept"
        )
        at[name].add_argument("--as", dest="study", metavar="NAME", help="name of the new study")
        at[name].add_argument(
            "-o",
            "--output",
            metavar="FILE.py",
            help="write the space instead of running it",
        )
    at["evaluate"].add_argument(
        "--on",
        dest="dataset",
        required=True,
        metavar="DATASET",
        help="a name, a directory, an s3:// URL, your own .py file, or JSON: NAME with its fields",
    )
    at["evaluate"].add_argument(
        "--cases",
        default="all",
        choices=("all", "test"),
        help="the whole data set (default), or its test split",
    )
    at["probe"].add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of probe, e.g. bins=64, draws=8, t_low=0.2",
    )


def _sweeps(at: Parsers) -> None:
    """Add the options of verbs that plan or run a study."""
    for name in ("plan", "sweep", "submit", "logs", *READERS):
        at[name].add_argument(
            "--most",
            type=int,
            metavar="N",
            help="largest permitted number of trials of the space (default: 1000)",
        )
    for name in ("plan", "sweep", "submit", "logs", "export"):
        at[name].add_argument(
            "--as",
            dest="study",
            metavar="NAME",
            help="name of the study (default: Space.name, else the name of the file)",
        )
    at["plan"].add_argument(
        "--spread",
        metavar="UNITS[,SEEDS[,NOISE]]",
        help="standard deviations of a paired difference in Dice, for the detectable difference"
        " (default: those of past studies in the store)",
    )
    at["sweep"].add_argument("--on", default="local", metavar="CLUSTER", help="default: local")
    for name in ("sweep", *READERS):
        at[name].add_argument(
            "--silence",
            type=float,
            metavar="SECONDS",
            help="kill and retry a trial without a sign of life for so long (default: 900)",
        )
        at[name].add_argument(
            "--again",
            action="store_true",
            help="retry trials that were given up after three failures",
        )
        at[name].add_argument(
            "--mirror", choices=("mlflow", "wandb"), help="send a copy of the results there as well"
        )


def _clusters(at: Parsers) -> None:
    """Add the options of verbs on clusters."""
    at["status"].add_argument(
        "what", metavar="SPACE|CLUSTER", help=f"{SPACE_HELP}; or the same for a cluster"
    )
    for name in ("up", "submit", "logs", "down"):
        at[name].add_argument("cluster", metavar="CLUSTER", help=CLUSTER_HELP)
    for name in ("up", "submit", "status", "logs", "down"):
        at[name].add_argument(
            "--dry-run", action="store_true", help="print exactly what would be sent; send nothing"
        )
    at["doctor"].add_argument(
        "--on", default="local", metavar="CLUSTER", help="check its nodes too (default: local)"
    )
    at["down"].add_argument(
        "--force", action="store_true", help="stop the cluster even if a study runs there"
    )
    for name in ("submit", "logs"):
        at[name].add_argument("space", metavar="SPACE", help=SPACE_HELP)


def _results(at: Parsers) -> None:
    """Add the options of verbs that print rows."""
    at["query"].add_argument("sql", metavar="SQL")
    for name in ("query", "export"):
        at[name].add_argument(
            "--version", type=int, metavar="N", help="read this version (see tables versions)"
        )
    for name in ("query", "compare", "report", "export"):
        at[name].add_argument(
            "--metric",
            action="append",
            default=[],
            metavar="FILE",
            help="a .py file with a metric of your own, added to the views (repeatable)",
        )
    at["trials"].add_argument(
        "--where", metavar="SQL", help="a condition, e.g. \"dice > 0.8 AND task LIKE 'nuclei%%'\""
    )
    at["compare"].add_argument(
        "one", metavar="A", help="STUDY, STUDY/ARM, STUDY/CELL, DIGEST, or STUDY@CODE"
    )
    at["compare"].add_argument(
        "other", metavar="B", nargs="?", help="the same, to compare A with (default: the baseline)"
    )
    at["compare"].add_argument(
        "--against", metavar="ARM", help="compare each other arm of A with this arm or grid value"
    )
    for name in ("trials", "query", "compare"):
        at[name].add_argument(
            "--format", choices=TABLE_FORMATS, help="default: by the suffix of FILE"
        )
        at[name].add_argument(
            "-o", "--output", metavar="FILE", help="write to a file instead of printing"
        )
    for name in ("trials", "fingerprint", "report", "export"):
        at[name].add_argument("studies", metavar="STUDY", nargs="*", help="default: all")
    _adapt(at["adapt"])


def _reports(at: Parsers) -> None:
    """Add the options of reports and exports."""
    at["report"].add_argument("-o", "--output", default="report.html", metavar="FILE")
    at["report"].add_argument(
        "--figures",
        metavar="DIRECTORY",
        help="write charts as SVG, PDF and PNG, tables for LaTeX, and the numbers as CSV",
    )
    at["report"].add_argument(
        "--table",
        metavar="FILE.toml",
        help="columns, rows, order, decimals and names of the table for a paper in --figures",
    )
    at["report"].add_argument(
        "--watch",
        type=float,
        metavar="SECONDS",
        help="rewrite the page at this interval until no trial is missing",
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
        choices=("parquet", "optuna", "published"),
        help="a tree of studies (default), the searches of a space as an Optuna SQLite file, or a"
        " study as a few files that are a store to read",
    )


def _stores(at: Parsers) -> None:
    """Add the options of verbs on notes, tables and data sets."""
    at["note"].add_argument("study", metavar="STUDY")
    at["note"].add_argument("text", nargs="?", help="the new note; it replaces the old one")
    at["note"].add_argument("--tag", action="append", default=[], help="add a tag")
    at["note"].add_argument("--untag", action="append", default=[], help="remove a tag")
    how = at["note"].add_mutually_exclusive_group()
    how.add_argument("--retire", action="store_true", help="leave the study out unless it is named")
    how.add_argument("--restore", action="store_true", help="undo --retire")
    how.add_argument(
        "--delete",
        action="store_true",
        help="delete the study's declarations; trials stay in the ledger",
    )
    at["delete"].add_argument(
        "names",
        metavar="STUDY|DIGEST",
        nargs="+",
        help="a study, or the first characters of a trial's digest",
    )
    at["delete"].add_argument(
        "--yes", action="store_true", help="delete (default: print what would be deleted)"
    )
    at["tables"].add_argument("action", choices=("compact", "check", "rebuild", "gc", "versions"))
    at["tables"].add_argument(
        "--quick", action="store_true", help="check: compare names and sizes only"
    )
    at["tables"].add_argument(
        "--quarantine", action="store_true", help="check: set damaged commits aside"
    )
    at["tables"].add_argument(
        "--restore", action="store_true", help="check: write lost commit records again"
    )
    at["tables"].add_argument(
        "--force", action="store_true", help="rebuild: leave damaged rows out"
    )
    at["tables"].add_argument("--dry-run", action="store_true", help="gc: delete nothing")
    at["tables"].add_argument(
        "--keep-days",
        type=float,
        default=7.0,
        metavar="N",
        help="gc: keep unneeded checkpoints and replaced files this long (default: 7)",
    )
    at["data"].add_argument("action", choices=("ls", "get", "check", "show"))
    at["data"].add_argument(
        "names",
        metavar="NAME|PATH",
        nargs="*",
        help="a data set, your own .py file, or (check, show) a directory or s3:// URL",
    )
    at["data"].add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="e.g. at=/data/kvasir"
    )
    at["data"].add_argument(
        "-o", "--output", metavar="FILE", help="show: the contact sheet (default: NAME.png)"
    )


def _adapt(verb: argparse.ArgumentParser) -> None:
    """Add the options of ``segprint adapt``."""
    verb.add_argument("study", metavar="STUDY")
    verb.add_argument("--task", required=True, help="one of the study's tasks")
    verb.add_argument("--cell", help="one of its diffusion models, if there are several")
    verb.add_argument(
        "-o", "--output", metavar="FILE.py", help="file of the new space (default: adapted_TASK.py)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0: done; 1: something failed or is missing; 2: bad input or an unreachable store, with one line
    on stderr and no traceback; 130: stopped.
    """
    options = parser().parse_args(arguments)
    try:
        verb = import_module(f"orchestrator.commands.{options.verb}")
        as_json = getattr(options, "json", False)
        with nullcontext() if options.verb in PASSED_ON else _only_answers(as_json=as_json):
            return verb.main(options)
    except BrokenPipeError:
        if options.verb in PASSED_ON:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        return stopped(f" at {error}" if str(error) else "")
    except (Exception, SystemExit) as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":  # by Ctrl-C
            return stopped()
        print(printable(f"segprint: {_reason(error)}", keep="\n"), file=sys.stderr)
        return 2


def _reason(error: Exception | SystemExit) -> str:
    """Return the reason of an error for people; errors of this program itself are raised again."""
    loader = sys.modules.get("trainables.user_files")  # absent if no user's file has been run
    by_user = None if loader is None else loader.explained(error)
    if by_user is not None:
        return by_user
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{sys.executable} (Python {platform.python_version()}) lacks the package"
            f" {error.name!r}: pip install -c constraints.txt . with Python 3.11 or later; on a"
            " cluster, in the image or environment of its nodes"
        )
    if isinstance(error, RuntimeError) and str(error) == "Could not determine home directory.":
        return "no home directory: set HOME to one that can be written"
    if not isinstance(error, (ValueError, OSError)):
        raise error
    return str(error)


def _only_answers(*, as_json: bool) -> AbstractContextManager[None]:
    from orchestrator.commands.output import only_answers

    return only_answers(as_json=as_json)


def stopped(where: str = "") -> int:
    """Print how to continue, and return the exit code."""
    print(printable(f"segprint: stopped{where}; the same command continues"), file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
