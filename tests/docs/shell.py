"""Runs the command lines of a page: all that this machine can do in seconds, else a dry run.

A sweep is not run here (``test_sweep.py`` runs the README's with Ray): its command line is parsed,
its space is checked and its cluster is loaded. A study of readings is written as a space, and its
trials are run in this process. What would reach another machine gets ``--dry-run``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cluster
import search_spaces
from orchestrator.arguments import READERS, parser
from orchestrator.cli import main
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.validation import check
from orchestrator.storage.object_store import Store
from tests.conftest import ROOT
from tests.docs.training import trained

ELSEWHERE = {"up", "submit", "logs", "down"}
SLOW = {"sweep", "doctor"}
OTHERS = {"docker", "kubectl", "ray", "ssh", "optuna-dashboard", "python3", "aws", "gcloud"}
"""Programs of others: their lines are shown as they are."""


@dataclass
class Shell:
    """A directory in which a page's commands run one after the other."""

    folder: Path
    words: Mapping[str, str]
    """What stands for the words that a reader replaces."""

    def run(self, line: str) -> str:
        """Run a line, and return what it printed."""
        for word, value in self.words.items():
            line = re.sub(rf"\b{word}\b", value, line)
        return "".join(self._command(part.strip()) for part in line.split("&&"))

    def _command(self, line: str) -> str:
        words = shlex.split(line)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            self._set(words.pop(0))
        program, *arguments = words
        if program == "export":
            for assignment in arguments:
                self._set(assignment)
            return ""
        if program == "segprint":
            return self._segprint(arguments)
        if program == "make":
            return self._make(arguments)
        if program == "python":
            return self._module(arguments)
        if program == "pip":
            return self._pip(arguments)
        if program == "docker":
            assert (ROOT / "Dockerfile").exists()
        assert program in OTHERS, f"{line!r}: no rule says how this line is checked"
        return ""

    def _set(self, assignment: str) -> None:
        name, _, value = assignment.partition("=")
        os.environ[name] = value

    def _segprint(self, arguments: list[str]) -> str:
        options = parser().parse_args(arguments)
        there = options.verb == "status" and cluster.is_cluster(options.what)
        if options.verb in ELSEWHERE or there:
            arguments = [*arguments, "--dry-run"]
        if options.verb == "run" and options.threads is None:
            arguments = [*arguments, "--threads", "1"]
        if options.verb == "data" and options.action == "get":
            return ""  # it may need the network
        if options.verb == "weights" and options.action == "import":
            assert check(search_spaces.load(options.config)[1])  # its checkpoint is not here
            return ""
        if options.verb in READERS and options.output is None:
            return self._read(arguments)
        if options.verb in SLOW:
            cluster.load(options.on)
            if options.verb == "sweep":
                check(search_spaces.load(options.space)[1])
            return ""
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
        ):
            code = main(arguments)
        assert code == 0, f"segprint {shlex.join(arguments)}\n{out.getvalue()}{err.getvalue()}"
        return out.getvalue()

    def _read(self, arguments: list[str]) -> str:
        file = self.folder / "derived.py"
        file.unlink(missing_ok=True)
        printed = self._segprint([*arguments, "-o", str(file)])
        if file.exists():
            study, space = search_spaces.load(str(file))
            assert trained(study, space, Ledger(Store("results"))).complete
        return printed

    def _make(self, arguments: list[str]) -> str:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in arguments if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        return ""

    def _module(self, arguments: list[str]) -> str:
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1]) is not None, arguments[1]
        if arguments[1] == "bench":
            for topic in arguments[2:]:
                assert (ROOT / "bench" / f"{topic}.py").exists(), topic
        return ""

    def _pip(self, arguments: list[str]) -> str:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extra in re.findall(r"\[(\w+)\]", " ".join(arguments)):
            assert extra in project["optional-dependencies"], extra
        return ""
