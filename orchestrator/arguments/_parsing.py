"""A parser that names the nearest choice after a typo, and the version of the code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from orchestrator.formatting import nearest
from orchestrator.provenance import code_version


class _Scope(NamedTuple):
    """Where an argument has an effect: with some values of another argument, or without it."""

    name: str
    selector: str
    values: tuple[Any, ...] | None
    """None: the other argument must not be given."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the nearest choice or option.

    An argument that would have no effect beside the others is an error (:meth:`only_with`).
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._scopes: list[_Scope] = []

    def only_with(self, selector: str, values: Sequence[Any], *names: str) -> None:
        """Permit arguments only where the argument ``selector`` has one of some values."""
        self._scopes += [_Scope(name, selector, tuple(values)) for name in names]

    def not_with(self, selector: str, *names: str) -> None:
        """Permit arguments only where the option ``selector`` is not given."""
        self._scopes += [_Scope(name, selector, None) for name in names]

    def _check_scopes(self, options: argparse.Namespace) -> None:
        for name, selector, values in self._scopes:
            chosen = getattr(options, selector)
            if getattr(options, name) == self.get_default(name):
                continue
            if values is None and chosen != self.get_default(selector):
                self.error(f"{self._flag(name)} has no effect with {self._flag(selector)}")
            if values is not None and chosen not in values:
                wanted = " or ".join(self._flag(selector, value) for value in values)
                self.error(f"{self._flag(name)} has no effect here: it belongs to {wanted}")

    def _flag(self, name: str, value: Any = True) -> str:
        """Return an argument as a user writes it; ``value`` is a choice, or True for a switch."""
        (action,) = (a for a in self._actions if a.dest == name)
        if not action.option_strings:
            return str(action.metavar or name) if value is True else str(value)
        return action.option_strings[-1] + ("" if value is True else f" {value}")

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride] - it is overloaded
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Parse arguments; an option that no parser knows is an error with the nearest one."""
        options, left = super().parse_known_args(args, namespace)
        self._check_scopes(options)
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
