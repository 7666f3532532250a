"""Options of verbs that print rows, and of reports and exports."""

from __future__ import annotations

from orchestrator.arguments._names import TABLE_FORMATS, Parsers
from orchestrator.arguments._parsing import Parser


def add_results(at: Parsers) -> None:
    """Add the options of verbs that print rows."""
    at["query"].add_argument(
        "sql", metavar="SQL", help="one SELECT in DuckDB's SQL (see ls views for the tables)"
    )
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
            "--format",
            choices=TABLE_FORMATS,
            help="form of the rows (default: by the suffix of FILE, else table)",
        )
        at[name].add_argument(
            "-o", "--output", metavar="FILE", help="write to a file instead of printing"
        )
    for name in ("trials", "fingerprint", "report", "export"):
        at[name].add_argument(
            "studies",
            metavar="STUDY",
            nargs="*",
            help="names of studies in the store (default: all)",
        )
    _adapt(at["adapt"])


def _adapt(verb: Parser) -> None:
    """Add the options of ``segprint adapt``."""
    verb.add_argument("study", metavar="STUDY", help="a study in the store")
    verb.add_argument("--task", required=True, help="one of the study's tasks")
    verb.add_argument("--cell", help="one of its diffusion models, if there are several")
    verb.add_argument(
        "-o", "--output", metavar="FILE.py", help="file of the new space (default: adapted_TASK.py)"
    )


def add_reports(at: Parsers) -> None:
    """Add the options of reports and exports."""
    at["report"].add_argument(
        "-o",
        "--output",
        default="report.html",
        metavar="FILE",
        help="the page to write (default: report.html)",
    )
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
        help="rewrite the page at this interval until no trial is missing; a browser that shows it"
        " reloads it",
    )
    at["report"].add_argument(
        "--serve",
        action="store_true",
        help="serve the page on 127.0.0.1 and renew it as trials are committed, with the running"
        " trials and a box for SQL",
    )
    at["report"].add_argument(
        "--port", type=int, metavar="N", help="with --serve: the port (default: a free one)"
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
    at["export"].only_with("format", ["parquet"], "metric", "version")
    at["export"].only_with("format", ["optuna", "published"], "study")
    at["report"].not_with("serve", "output", "watch", "figures", "table", "metric")
    at["report"].only_with("serve", [True], "port")
