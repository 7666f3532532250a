"""Options of verbs on notes, tables and data sets."""

from __future__ import annotations

from orchestrator.arguments._names import Parsers


def add_stores(at: Parsers) -> None:
    """Add the options of verbs on notes, tables and data sets."""
    at["note"].add_argument("study", metavar="STUDY", help="a study in the store")
    at["note"].add_argument(
        "text", nargs="?", metavar="TEXT", help="the new note; it replaces the old one"
    )
    at["note"].add_argument("--tag", action="append", default=[], help="add a tag")
    at["note"].add_argument("--untag", action="append", default=[], help="remove a tag")
    how = at["note"].add_mutually_exclusive_group()
    how.add_argument("--retire", action="store_true", help="leave the study out unless it is named")
    how.add_argument("--restore", action="store_true", help="undo --retire")
    how.add_argument(
        "--delete",
        action="store_true",
        help="delete the study's declarations; its trials stay in the store (see delete)",
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
    at["tables"].add_argument(
        "action",
        choices=("compact", "check", "rebuild", "gc", "versions"),
        help="compact: merge new rows; check: name damage; rebuild: write the tables again; gc:"
        " delete what nothing needs; versions: list the compactions",
    )
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
        help="gc: keep unneeded checkpoints, replaced files and weights this long (default: 7;"
        " files and weights at least 1)",
    )
    at["note"].not_with("delete", "text", "tag", "untag")
    at["tables"].only_with("action", ["check"], "quick", "quarantine", "restore")
    at["tables"].only_with("action", ["rebuild"], "force")
    at["tables"].only_with("action", ["gc"], "dry_run", "keep_days")
    at["data"].add_argument(
        "action",
        choices=("ls", "get", "check", "show"),
        help="ls: list; get: download; check: read every file, name problems; show: draw a sheet",
    )
    at["data"].add_argument(
        "names",
        metavar="NAME|PATH",
        nargs="*",
        help="a data set, your own .py file, or (check, show) a directory or s3:// URL",
    )
    at["data"].add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the data set, e.g. at=/data/kvasir",
    )
    at["data"].add_argument(
        "-o", "--output", metavar="FILE", help="show: the contact sheet (default: NAME.png)"
    )
    at["data"].only_with("action", ["get", "check", "show"], "set")
    at["data"].only_with("action", ["show"], "output")
