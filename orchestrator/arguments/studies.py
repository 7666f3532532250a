"""Options of verbs that plan or run a study, or use a cluster."""

from __future__ import annotations

from orchestrator.arguments._names import CLUSTER_HELP, READERS, SPACE_HELP, Parsers


def add_readings(at: Parsers) -> None:
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


def add_sweeps(at: Parsers) -> None:
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
    at["sweep"].add_argument(
        "--on",
        default="local",
        metavar="CLUSTER",
        help=f"where to run: {CLUSTER_HELP} (default: local)",
    )
    for name in ("sweep", *READERS):
        at[name].add_argument(
            "--silence",
            type=float,
            metavar="SECONDS",
            help="kill a trial that gives no sign of life for so long, and start it again"
            " (default: 900)",
        )
        at[name].add_argument(
            "--again",
            action="store_true",
            help="retry trials that were given up after three failures",
        )
        at[name].add_argument(
            "--mirror", choices=("mlflow", "wandb"), help="send a copy of the results there as well"
        )
    for name in READERS:
        at[name].not_with("output", "most", "silence", "again", "mirror")


def add_clusters(at: Parsers) -> None:
    """Add the options of verbs on clusters."""
    at["status"].add_argument(
        "what",
        metavar="SPACE|CLUSTER",
        help=f"{SPACE_HELP}, or of a stored study; or the same for a cluster",
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
