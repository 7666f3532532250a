"""Parts of a config: frozen dataclasses of numbers with a formula, named by their file.

A *kind* is a folder of this package (``schedules``, ``models``, ...) whose ``__init__`` exports the
abstract class of the kind; every other file in the folder is one choice. There is no registry:
adding a file adds the choice.

The plain form of a part is JSON, as in a study file: ``{name: {field: value}}``, or just ``name``
where every field keeps its default. The path of a user's ``.py`` file may take the place of a name.
The digest hashes the :func:`identity` of a part, which is its plain form without locations.
"""

from __future__ import annotations

import abc
import ast
import dataclasses
import difflib
import functools
import hashlib
import importlib
import os
import re
import types
import typing
from pathlib import Path
from typing import Any, ClassVar, cast

from trainables import user_files
from trainables.part_fields import BEFORE
from trainables.trusted_files import check_trusted

HERE = Path(__file__).parent
KINDS = (
    *("datasets", "models", "modes", "schedules", "encodings", "weights", "losses", "samplers"),
    "metrics",
)

Numbered = tuple[tuple[int, str], ...]
"""Names by number, as pairs sorted by number; its plain form is a mapping."""


class Location(str):
    """The location of a file or directory; it does not enter the digest."""

    __slots__ = ()


class Part(abc.ABC):
    """The base class of every choice: a frozen dataclass whose fields decide the numbers."""

    kind: ClassVar[str]
    version: ClassVar[int | str] = 1
    """Increased when the formula changes: it enters the digest, so old results are not reused."""
    file: ClassVar[Location | None] = None
    """The path of a part that lies outside this package."""

    @property
    def name(self) -> str:
        """The name of the file, which is the name of the part."""
        return type(self).__module__.rpartition(".")[2]


def singular(kind: str) -> str:
    """Return the name of one choice of a kind, for messages.

    >>> singular("datasets"), singular("losses")
    ('dataset', 'loss')
    """
    return kind.removesuffix("es" if kind.endswith("sses") else "s")


def names(kind: str) -> list[str]:
    """Return the names of all choices of a kind, without importing them.

    >>> names("encodings")
    ['bits', 'onehot', 'sdf']
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    return list(_listed(kind))


@functools.cache
def _listed(kind: str) -> tuple[str, ...]:
    files = (HERE / kind).glob("*.py")
    return tuple(sorted(p.stem for p in files if not p.stem.startswith("_")))


def summary(kind: str, name: str) -> str:
    """Return the first docstring line of a choice's module, without importing it."""
    source = (HERE / kind / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def unknown(what: str, value: object, choices: typing.Iterable[str]) -> ValueError:
    """Return the error for a name that is not a choice, with the nearest choice."""
    listed = list(choices)
    near = difflib.get_close_matches(str(value), listed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {what} {value!r}{hint} (choices: {', '.join(listed) or 'none'})")


@functools.cache
def part_class(kind: str, name: str) -> type[Part]:
    """Return the concrete class that a choice's file defines.

    Raises:
        ValueError: the name is neither a choice of the kind nor the path of a user's file.
    """
    if name.endswith(".py"):
        return _class_in_file(kind, name)
    if name not in names(kind):
        raise unknown(singular(kind), name, names(kind))
    module = importlib.import_module(f"trainables.{kind}.{name}")
    return _only_class(module, module.__name__)


def _class_in_file(kind: str, path: str) -> type[Part]:
    """Return the class in a user's file; its version is the hash of the file."""
    what, file = singular(kind), Path(path).expanduser().absolute()
    check_trusted(what, path)
    if not file.is_file():
        raise ValueError(f"{what} {path!r}: there is no such file")
    if not file.stem.isidentifier():
        raise ValueError(f"{what} {path!r}: the file's name must be a Python identifier")
    module = user_files.load(file, f"{what} {path!r}")
    part = _only_class(module, f"{what} {path!r}")
    if part.kind != kind:
        raise ValueError(f"{what} {path!r} defines one of {part.kind}, not of {kind}")
    missing = sorted(getattr(part, "__abstractmethods__", ()))
    if missing:
        raise ValueError(f"{what} {path!r}: {part.__name__} must define {', '.join(missing)}")
    dataclass_params = vars(part).get("__dataclass_params__")
    if dataclass_params is None or not dataclass_params.frozen:
        raise ValueError(f"{what} {path!r}: {part.__name__} must be a @dataclass(frozen=True)")
    part.file = Location(file)
    if kind != "datasets":  # the content of a data set is hashed, not its reader
        part.version = hashlib.sha256(user_files.content(module)).hexdigest()[:12]
    return part


def _only_class(module: types.ModuleType, where: str) -> type[Part]:
    found = [
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, Part)
        and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ValueError(f"{where} must define exactly one Part, it defines {len(found)}")
    return found[0]


def plain(value: Any) -> Any:
    """Return the JSON form of a part, a dataclass or a value, with every default written out.

    >>> from trainables.parsing import parse_part
    >>> plain(parse_part("schedules", "cosine"))
    {'cosine': {'shift': 0.0, 'span': 10.0}}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {plain(value.file or value.name): fields} if isinstance(value, Part) else fields
    if isinstance(value, tuple):
        items = cast("tuple[Any, ...]", value)
        if items and all(_is_named_number(item) for item in items):
            return {str(number): name for number, name in cast("Numbered", items)}
        return [plain(v) for v in items]
    return without_home(value) if isinstance(value, Location) else value


def _is_named_number(item: object) -> bool:
    """Whether an item is one of :data:`Numbered`, and not of another tuple of tuples."""
    if not isinstance(item, tuple):
        return False
    return [type(value) for value in cast("tuple[object, ...]", item)] == [int, str]


def without_home(text: str) -> str:
    """Replace the user's home directory by ``~`` in every path that begins with it."""
    home = os.path.expanduser("~")  # "~" where there is none
    return re.sub(rf"(?<![\w./~-]){re.escape(home)}(?=/)", "~", text) if home != "/" else str(text)


def identity(value: Any) -> Any:
    """Return the plain form without any :class:`Location`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {
            f.name: getattr(value, f.name) for f in dataclasses.fields(value) if _counts(f, value)
        }
        fields = {k: identity(v) for k, v in items.items() if not isinstance(v, Location)}
        return {value.name: fields} if isinstance(value, Part) else fields
    return plain(value)


def _counts(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field enters the identity of its part."""
    return BEFORE not in field.metadata or getattr(value, field.name) != field.metadata[BEFORE]


def parts_in(value: Any) -> list[Part]:
    """Return all parts in a dataclass, depth first."""
    found: list[Part] = [value] if isinstance(value, Part) else []
    if dataclasses.is_dataclass(value):
        for f in dataclasses.fields(value):
            found += parts_in(getattr(value, f.name))
    return found


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless the condition holds."""
    if not condition:
        raise ValueError(message)
