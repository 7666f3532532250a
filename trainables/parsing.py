"""The plain form of a part to the part; errors name the path, the value and the choices."""

from __future__ import annotations

import dataclasses
import functools
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from trainables import user_files
from trainables.part import Location, Numbered, Part, names, part_class, singular, unknown
from trainables.part_fields import BEFORE
from trainables.trusted_files import parsing_stored_text

T = TypeVar("T")


def parse_part(kind: str, spec: object, where: str = "") -> Part:
    """Build a part from its plain form."""
    where = where or singular(kind)
    if isinstance(spec, str):
        spec = {spec: {}}
    if not isinstance(spec, Mapping) or len(cast("Mapping[str, object]", spec)) != 1:
        raise ValueError(
            f"{where}: {spec!r} must be a name or {{name: {{field: value}}}}"
            f" (choices: {', '.join(names(kind))})"
        )
    ((name, fields),) = cast("Mapping[str, object]", spec).items()
    if not name.endswith(".py") and name not in names(kind):
        raise unknown(where, name, names(kind))
    return parse_dataclass(part_class(kind, name), fields, f"{where}.{name}")


def parse_dataclass(cls: type[T], fields: object, where: str) -> T:
    """Build a dataclass from a mapping, checking types and refusing unknown fields."""
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where}: {fields!r} must be a mapping of field to value")
    given = cast("Mapping[str, object]", fields)
    known, hints = _fields(cls)
    for field in given:
        if field not in known:
            raise unknown(f"{where} field", field, known)
    missing = [
        f.name
        for f in known.values()
        if f.name not in given
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}: no value for {', '.join(missing)}")
    values = {k: _parse_value(hints[k], v, f"{where}.{k}") for k, v in given.items()}
    if parsing_stored_text():  # a field that the text lacks was added after it was stored
        absent = [f for f in known.values() if f.name not in given and BEFORE in f.metadata]
        values |= {f.name: f.metadata[BEFORE] for f in absent}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    except Exception as error:
        by_user = user_files.explained(error)
        if by_user is None:
            raise
        raise ValueError(by_user) from error


@functools.cache
def _fields(cls: type) -> tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]:
    """Return the init fields of a dataclass and its type hints, cached."""
    fields = dataclasses.fields(cast("Any", cls))
    return {f.name: f for f in fields if f.init}, typing.get_type_hints(cls)


@dataclasses.dataclass(frozen=True)
class _Spec:
    """A plain form that is compared by its text, which distinguishes 1, 1.0 and True."""

    text: str
    value: object = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=4096)
def _parse_once(hint: Any, spec: _Spec, where: str, stored: bool) -> object:
    """Build a part or a nested dataclass, cached: configs of a study share most of them."""
    if issubclass(hint, Part):
        return parse_part(hint.kind, spec.value, where)
    return parse_dataclass(hint, spec.value, where)


def _parse_value(hint: Any, value: object, where: str) -> object:
    """Return the value of a field, checked against its type hint."""
    kind = cast("type[Any] | None", hint if isinstance(hint, type) else None)
    if kind is not None and (issubclass(kind, Part) or dataclasses.is_dataclass(kind)):
        if isinstance(value, kind):
            return value
        return _parse_once(hint, _Spec(repr(value), value), where, parsing_stored_text())
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise unknown(where, value, choices)
        return value
    if origin is tuple:
        return _parse_tuple(hint, value, where)
    if origin is types.UnionType:
        (hint,) = (h for h in typing.get_args(hint) if h is not types.NoneType)
        return None if value is None else _parse_value(hint, value, where)
    return _parse_scalar(hint, value, where)


def _parse_tuple(hint: Any, value: object, where: str) -> tuple[Any, ...]:
    if hint == Numbered:
        return _parse_numbered(value, where)
    (item, *_) = typing.get_args(hint)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}: {value!r} must be a list")
    return tuple(
        _parse_value(item, v, f"{where}[{i}]") for i, v in enumerate(cast("list[object]", value))
    )


def _parse_numbered(value: object, where: str) -> Numbered:
    """Return a mapping of whole numbers to names, sorted; JSON has the numbers as text."""
    if isinstance(value, tuple) or value == []:
        value = dict(cast("Numbered", value))
    if not isinstance(value, Mapping):
        raise ValueError(f'{where}: {value!r} must be a mapping such as {{"0": "background"}}')
    found: dict[int, str] = {}
    for key, name in cast("Mapping[object, object]", value).items():
        if not re.fullmatch(r"-?\d{1,9}", str(key)) or isinstance(key, bool):
            raise ValueError(f"{where}: {key!r} must be a whole number")
        if int(str(key)) in found:
            raise ValueError(f"{where}: {key!r} is there twice")
        found[int(str(key))] = str(_parse_scalar(str, name, f"{where}.{key}"))
    return tuple(sorted(found.items()))


def _parse_scalar(scalar: Any, value: object, where: str) -> object:
    if scalar is Location and isinstance(value, str):
        return Location(value)
    if scalar is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, scalar) or (scalar is int and isinstance(value, bool)):
        raise ValueError(f"{where}: {value!r} must be {scalar.__name__}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where}: {reprlib.repr(value)} must fit 64 bits")
    if isinstance(value, float) and value - value != 0.0:
        raise ValueError(f"{where}: {value!r} must be a finite number")
    return 0.0 if scalar is float and value == 0.0 else value  # -0.0 has the digest of 0.0
