"""The fields of configs and parts as a reader meets them: type, default and meaning, from the code.

The meaning of a field is the text below it in its class.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any, NamedTuple

from trainables import part
from trainables.config import Config
from trainables.info_noise import InfoNoise
from trainables.part import Location, Part, plain
from trainables.settings import Evaluation, Probe, Train

SETTINGS: dict[str, type] = {
    "config": Config,
    "train": Train,
    "test": Evaluation,
    "probe": Probe,
    "info_noise": InfoNoise,
}
"""The blocks of a config that are no parts, by the name that a config has for them."""


class FieldDoc(NamedTuple):
    """One field of a config."""

    of: str
    """The block or the part, as ``kind/name``."""
    field: str
    type: str
    default: str
    """JSON-like text; empty where a value must be given."""
    decides: str
    """``training`` if it decides the weights, ``reading`` if their use; empty: neither."""
    meaning: str


def fields_of(name: str | None = None) -> list[FieldDoc]:
    """Return the fields of one block or part, or of all.

    ``name`` is a block such as ``train``, a kind such as ``modes``, a part such as ``diffusion`` or
    both as ``modes/diffusion``.

    Raises:
        ValueError: there is nothing of that name; lists the choices.
    """
    classes = dict(_classes())
    chosen = [key for key in classes if name is None or name in (key, *key.split("/"))]
    if not chosen:
        raise part.unknown("block or part", name, [*SETTINGS, *part.KINDS, *_names()])
    return [row for key in chosen for row in _rows(key, classes[key])]


def _names() -> list[str]:
    return [name for kind in part.KINDS for name in part.names(kind)]


def _classes() -> Iterator[tuple[str, type]]:
    yield from SETTINGS.items()
    for kind in part.KINDS:
        for name in part.names(kind):
            yield f"{kind}/{name}", part.part_class(kind, name)


def _rows(of: str, cls: type) -> Iterator[FieldDoc]:
    hints, meanings = typing.get_type_hints(cls), _meanings(cls)
    (block,) = [f for f in dataclasses.fields(Config) if f.name == of] or [None]
    of_reading = block is not None and "reading" in block.metadata
    for field in dataclasses.fields(typing.cast("Any", cls)):
        if field.init:
            decides = _decides(of, field, hints[field.name], of_reading)
            text = meanings.get(field.name, "")
            yield FieldDoc(of, field.name, _type(hints[field.name]), _default(field), decides, text)


def _decides(of: str, field: dataclasses.Field[Any], hint: Any, of_reading: bool) -> str:
    """Return what a field decides: the training, the reading of its weights, or neither."""
    kind = of.partition("/")[0]
    if kind == "metrics" or hint is Location:
        return ""
    read = of_reading or kind == "samplers" or "reading" in field.metadata
    # A larger ensemble reads the networks of a smaller one.
    read = read or (of, field.name) == ("modes/deep_ensemble", "networks")
    return "reading" if read else "training"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return ""
    return value.name if isinstance(value, Part) else str(plain(value))


def _type(hint: Any) -> str:
    """Return a type as a reader of a space file knows it: names, choices and kinds of parts."""
    if isinstance(hint, type):
        if issubclass(hint, Part):
            return f"one of {hint.kind}"
        return {"str": "text", "Location": "path"}.get(hint.__name__, hint.__name__)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(str(choice) for choice in arguments)
    if typing.get_origin(hint) is tuple:
        return "list of " + _type(arguments[0]) if hint != part.Numbered else "names by number"
    return " | ".join("null" if a is type(None) else _type(a) for a in arguments)


@functools.cache
def _meanings(cls: type) -> dict[str, str]:
    """Return the text below each field of a dataclass and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base) or issubclass(base, Part):
            found |= _texts(base)
    return found


def _texts(cls: type) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, below in itertools.pairwise(tree.body):
        match statement, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split()).replace("``", "`")
            case _:
                pass
    return found
