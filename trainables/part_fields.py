"""Fields of parts and settings with a meaning for the identity of a run, and of its training."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

T = TypeVar("T")


BEFORE = "before"
"""The key in a field's metadata of the value that means "as before the field was added"."""


EARLIER = "earlier"
"""The key in a field's metadata of a default that it had, and that enters the identity."""


def earlier_default(field: dataclasses.Field[Any]) -> Any:
    """Return the default that a field had before it got its default of now."""
    return field.metadata.get(EARLIER, field.metadata.get(BEFORE, field.default))


def later(default: Any, *, before: Any = dataclasses.MISSING) -> Any:
    """Return a field that came after results were stored.

    ``before`` is the value that means "as before", by default the field's default. With it the
    field does not enter the identity, so that those results are found. Where it is not the default,
    stored text without the field has it.
    """
    before = default if before is dataclasses.MISSING else before
    return dataclasses.field(default=default, metadata={BEFORE: before})


def reading(
    default: Any = dataclasses.MISSING,
    *,
    default_factory: Any = dataclasses.MISSING,
    validation: Any = dataclasses.MISSING,
    before: Any = dataclasses.MISSING,
) -> Any:
    """Return a field that decides how a trained network is read, and not its weights.

    Validation during training reads with the value ``validation``, by default the field's default,
    so that the choice of the best weights is part of the training; a function returns it for the
    dataclass that has the field. ``before`` is that of :func:`later`.
    """
    if validation is dataclasses.MISSING:
        validation = default if default_factory is dataclasses.MISSING else default_factory()
    metadata = {"reading": validation}
    if before is not dataclasses.MISSING:
        metadata[BEFORE] = before
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def as_validated(value: T) -> T:
    """Return a dataclass with every :func:`reading` field at its value during validation.

    Two configs have the same weights if these forms of them are equal.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changes: dict[str, Any] = {}
    for f in dataclasses.fields(value):
        old = getattr(value, f.name)
        new = f.metadata["reading"] if "reading" in f.metadata else as_validated(old)
        if "reading" in f.metadata and callable(new):
            new = cast("Any", new(value))
        if repr(new) != repr(old):  # which distinguishes 1, 1.0 and True
            changes[f.name] = new
    return dataclasses.replace(value, **changes) if changes else value
