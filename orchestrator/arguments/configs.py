"""Options of verbs on spaces, single configs and kept weights."""

from __future__ import annotations

from orchestrator.arguments._names import READERS, SPACE_HELP, Parsers


def add_configs(at: Parsers) -> None:
    """Add the options of verbs on spaces and single configs."""
    at["ls"].add_argument(
        "kind",
        nargs="?",
        metavar="KIND",
        help="datasets, models, modes, schedules, encodings, weights, losses, samplers, metrics,"
        " fields, spaces, clusters, analyses, views or studies (default: the kinds)",
    )
    at["ls"].add_argument(
        "part",
        nargs="?",
        metavar="PART",
        help="fields: a block (train, test, probe), a kind or a part, e.g. diffusion; views: the"
        " name of one, to list its columns",
    )
    at["show"].add_argument(
        "--config", metavar="CELL", help="print the complete config of a cell of the space"
    )
    at["show"].add_argument(
        "what", metavar="SPACE|DIGEST", help=f"{SPACE_HELP}; or the digest of a committed trial"
    )
    at["completion"].add_argument(
        "shell", choices=("bash", "zsh"), help="the shell that runs the script"
    )
    at["init"].add_argument("file", metavar="FILE.py", help="the study file to write; a new one")
    at["init"].add_argument(
        "--data", required=True, metavar="DIRECTORY", help="images and masks; or an s3:// URL"
    )
    at["init"].add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the data set, e.g. objects=true",
    )
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


def add_weights(at: Parsers) -> None:
    """Add the options of verbs that read kept weights."""
    at["predict"].add_argument(
        "what",
        metavar="DIGEST|STUDY/ARM|FILE",
        help="a finished trial; of several the best by score; or FILE.safetensors",
    )
    at["predict"].add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="image files, volumes, directories of them, or names of data sets",
    )
    at["predict"].add_argument(
        "-o", "--output", required=True, metavar="DIRECTORY", help="where masks are written"
    )
    at["weights"].add_argument(
        "action", choices=("ls", "export", "import"), help="what to do with the weights"
    )
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
    at["weights"].only_with("action", ["export", "import"], "output")
    at["weights"].only_with("action", ["import"], "config", "cell", "set", "mean", "std")
    at["predict"].add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: all)"
    )
