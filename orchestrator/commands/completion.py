"""``segprint completion``: print a script that completes verbs, options and names in a shell."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, cast

import shtab

import cluster
import search_spaces
from orchestrator.arguments import parser
from orchestrator.commands.ls import KINDS
from orchestrator.commands.output import answer

FUNCTIONS = {"spaces": "_segprint_spaces", "clusters": "_segprint_clusters"}
"""The shell functions that complete a built-in name or a file."""
NAMED = {"SPACE": "spaces", "SPACE|CLUSTER": "spaces", "SPACE|DIGEST": "spaces"} | {
    "CLUSTER": "clusters"
}
"""The arguments that they complete, as the help shows them."""


def main(options: Namespace) -> int:
    """Print the script for one shell."""
    print(script(options.shell), file=answer())
    return 0


def script(shell: str) -> str:
    """Return the completion script for ``bash`` or ``zsh``."""
    root = parser()
    for action in _actions(root):
        _describe(action)
    names = {"spaces": search_spaces.names(), "clusters": cluster.names()}
    words = {FUNCTIONS[kind]: " ".join(listed) for kind, listed in names.items()}
    bash = [
        f'{name}() {{ compgen -W "{listed}" -- "$1"; compgen -f -- "$1"; }}'
        for name, listed in words.items()
    ]
    zsh = [f"{name}() {{ compadd -- {listed}; _files }}" for name, listed in words.items()]
    preamble = {"bash": "\n".join(bash), "zsh": "\n".join(zsh)}
    return shtab.complete(root, shell=shell, preamble=cast("Any", preamble))  # one per shell


def _actions(of: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its verbs."""
    for action in of._actions:  # pyright: ignore[reportPrivateUsage] - argparse lists them nowhere
        if isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            verbs = cast("dict[str, argparse.ArgumentParser]", cast("Any", action).choices)
            for verb in verbs.values():
                yield from _actions(verb)
        else:
            yield action


def _describe(action: argparse.Action) -> None:
    """Say how an argument is completed: by names, files, directories or kinds."""
    shown = str(action.metavar or action.dest)
    if shown in NAMED:
        function = FUNCTIONS[NAMED[shown]]
        completer: object = dict.fromkeys(("bash", "zsh"), function)
    elif shown == "DIRECTORY" or action.dest == "store":
        completer = shtab.DIRECTORY
    elif shown.startswith(("FILE", "IMAGE")) or shown.endswith("|PATH"):
        completer = shtab.FILE
    elif action.dest == "kind":
        action.choices = list(KINDS)
        return
    else:
        return
    setattr(action, "complete", completer)  # noqa: B010 - shtab reads this attribute
