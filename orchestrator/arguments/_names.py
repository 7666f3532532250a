"""The verbs, which options they share, and texts of their help."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.arguments._parsing import Parser

VERBS = {
    "ls": "list the choices of a kind, or what is stored",
    "show": "print a space and the trials it describes, or a committed trial by its digest",
    "init": "look at a data directory, and write a first study of it",
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
    "completion": "print a script that completes verbs, options and names in a shell",
    "doctor": "check this machine and the store before a sweep",
}
CLUSTER_HELP = "name of a cluster (see ls clusters), or path of your own .py file"
SPACE_HELP = "name of a space, or path of your own .py file"
LONG_TABLES = (
    *("ls", "show", "plan", "sweep", "status", "trials", "query", "compare", "fingerprint"),
    *("evaluate", "probe", "read", "weights", "tables", "data"),
)
"""Verbs whose tables can be longer than a terminal."""
TABLE_FORMATS = ("table", "json", "csv", "parquet", "markdown", "md")
"""The formats of one table, listed here because the code that writes them loads its libraries."""
PASSED_ON = {"up", "submit", "logs", "down"}
"""Verbs that pass on the output of other tools."""
WITHOUT_JSON = {"init", "completion", "report", "export", *PASSED_ON}
"""Verbs that write files or pass on the output of other tools."""
WITHOUT_STORE = {"init", "completion", "data"}
"""Verbs that read and write no store."""
READERS = ("evaluate", "probe", "read")
"""Verbs that derive a study of readings from another study, and run it."""
Parsers = Mapping[str, Parser]
"""The parser of each verb, by name."""
