"""The command line: runs one verb and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from orchestrator.arguments import PASSED_ON, parser
from orchestrator.formatting import printable

CONTINUED = {"sweep", "submit", "logs", "evaluate", "probe", "read", "predict", "delete"}
"""Verbs that continue where they were stopped."""


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
        return stopped(options.verb, f" at {error}" if str(error) else "")
    except (Exception, SystemExit) as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":  # by Ctrl-C
            return stopped(options.verb)
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


def stopped(verb: str, where: str = "") -> int:
    """Print that a verb was stopped and whether it can continue, and return the exit code."""
    further = "; the same command continues" if verb in CONTINUED else ""
    print(printable(f"segprint: stopped{where}{further}"), file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
