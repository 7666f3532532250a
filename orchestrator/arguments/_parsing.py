"""A parser that names the nearest choice after a typo, and the version of the code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from orchestrator.formatting import nearest
from orchestrator.provenance import code_version


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the nearest choice or option."""

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride] - it is overloaded
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Parse arguments; an option that no parser knows is an error with the nearest one."""
        options, left = super().parse_known_args(args, namespace)
        unknown = next((text for text in left if text.startswith("--")), None)
        if unknown is not None:
            known = self._option_string_actions
            self.error(f"unknown option {unknown!r}{nearest(unknown.partition('=')[0], known)}")
        return options, left

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            listed = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action,
                f"unknown {value!r}{nearest(str(value), listed)} (choices: {', '.join(listed)})",
            )


class PrintVersion(argparse.Action):
    """Print the version of the code, and exit."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        print(f"segprint {code_version().removeprefix('segprint ')}")
        parser.exit()
