"""One rule for the values of public dataclasses: each field has the type that it declares."""

from __future__ import annotations

import dataclasses
import reprlib
import types
import typing
import unicodedata
from collections.abc import Mapping
from typing import Any, cast

LARGEST = 2**63 - 1
"""The largest whole number that results can store."""
LONGEST_NAME = 200
"""Bytes; most file systems permit 255, of which a store uses some for its endings."""


def check_types(value: object, *, but: tuple[str, ...] = ()) -> None:
    """Check every field of a dataclass against its type; numbers are finite and fit 64 bits.

    Fields named in ``but`` are left to a rule of their own.

    Raises:
        ValueError: a field has another type; names the field, the value and the rule.
    """
    hints: dict[str, Any] = typing.get_type_hints(type(value))
    for field in dataclasses.fields(cast("Any", value)):
        given = getattr(value, field.name)
        if field.name not in but and not _matches(given, hints[field.name]):
            raise ValueError(
                f"{type(value).__name__}: {field.name}={reprlib.repr(given)} must be"
                f" {_rule(hints[field.name])}"
            )


def check_name(where: str, name: str) -> None:
    """Check that a name fits into the file names, keys and tables of a store.

    Raises:
        ValueError: it is ``.`` or ``..``, has control characters or those that change the
            direction of text, or more than :data:`LONGEST_NAME` bytes.
    """
    if name in (".", ".."):
        raise ValueError(f"{where} {name!r} must not be '.' or '..'")
    refused = next(filter(_acts_on_a_terminal, name), None)
    if refused is not None:
        raise ValueError(
            f"{where} {reprlib.repr(name)} has the character {refused!a}; control characters"
            " and those that change the direction of text are not allowed"
        )
    size = len(name.encode())
    if size > LONGEST_NAME:
        raise ValueError(
            f"{where} {reprlib.repr(name)} has {size} bytes, at most {LONGEST_NAME} are allowed"
        )


def _acts_on_a_terminal(character: str) -> bool:
    """Whether a character is a control, a line end, half a pair, or changes the text direction."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or (
        unicodedata.category(character) == "Cf" and unicodedata.bidirectional(character) != "BN"
    )


def check_identifier(where: str, name: str) -> None:
    """Check the name of a study or an arm, which is part of keys, options and SQL.

    Raises:
        ValueError: it is no Python identifier, or too long (:func:`check_name`). An identifier has
            no control or bidirectional character, path separator, dot or leading dash.
    """
    if not name.isidentifier():
        raise ValueError(f"{where} {name!r} must be a Python identifier")
    check_name(where, name)


def check_config(value: Any, where: str, above: tuple[int, ...] = ()) -> None:
    """Check that nested mappings have text as keys and do not hold themselves.

    Raises:
        ValueError: they break one of the rules; names the path.
    """
    if not isinstance(value, Mapping):
        return
    if id(cast("object", value)) in above:
        raise ValueError(f"{where} must not hold itself")
    for key, inner in cast("Mapping[object, object]", value).items():
        if not isinstance(key, str):
            raise ValueError(f"{where}: key {reprlib.repr(key)} must be text")
        check_config(inner, f"{where}.{key}", (*above, id(cast("object", value))))


def check_overrides(where: str, overrides: Mapping[str, Any]) -> None:
    """Check that no override of a config is replaced by a later one.

    Raises:
        ValueError: a path comes before one that contains it, e.g. ``train.steps`` before ``train``.
    """
    paths = list(overrides)
    for i, later in enumerate(paths):
        replaced = next((path for path in paths[:i] if path.startswith(f"{later}.")), None)
        if replaced is not None:
            raise ValueError(
                f"{where} sets {replaced!r}, and then {later!r}, which replaces it; write"
                f" {later!r} first, or only one of them"
            )


def _matches(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(_matches(value, option) for option in arguments)
    if origin is tuple:
        return isinstance(value, (tuple, list)) and _match(cast("list[Any]", value), arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False
        items = cast("Mapping[Any, Any]", value).items()
        return all(_matches(k, arguments[0]) and _matches(v, arguments[1]) for k, v in items)
    if hint in (int, float):
        return _is_number(value, hint)
    # Not all type hints are types that a value can be compared with: Literal, Callable[[int], int].
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


def _match(items: list[Any], hints: tuple[Any, ...]) -> bool:
    """Whether the items of a tuple have the types that its type hint lists."""
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(items)
    return len(items) == len(hints) and all(map(_matches, items, hints))


def _is_number(value: Any, hint: type[int] | type[float]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if hint is int else (int, float)):
        return False
    return -LARGEST <= value <= LARGEST if isinstance(value, int) else value - value == 0.0


def _rule(hint: Any) -> str:
    """Return a type in words."""
    names: dict[Any, str] = {
        int: "a whole number of at most 64 bits",
        float: "a finite number",
        str: "text",
        Any: "any value",
        types.NoneType: "None",
    }
    if hint in names:
        return names[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return " or ".join(map(_rule, arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a tuple, each item {_rule(arguments[0])}"
        return f"a tuple of {len(arguments)} items, each {_rule(arguments[0])}"
    if origin is not None:
        return f"a mapping from {_rule(arguments[0])} to {_rule(arguments[1])}"
    return f"{hint.__name__}(...)"
