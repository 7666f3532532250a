"""Parameters of a config: a grid axis, or the domain of a searched value."""

from __future__ import annotations

import math
import random
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, cast

from search_spaces._types import check_config, check_types

Value = None | bool | int | float | str
"""A searched value, as JSON stores it."""
LEAST_STEP = 1e-6
"""The smallest step of real numbers, as a share of the largest one: rounding stays below
:data:`TOLERANCE`."""
TOLERANCE = 1e-8
"""The largest distance from a multiple of the step, in steps, as in Optuna."""


class Parameter:
    """A value of a config that the study varies."""


@dataclass(frozen=True)
class Each(Parameter):
    """A grid axis: every one of these values is a cell of its own."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if not values:
            raise ValueError("Each() needs at least one value")
        object.__setattr__(self, "values", values)


class Searched(Parameter, ABC):
    """A parameter whose value the search suggests."""

    @abstractmethod
    def contains(self, value: object) -> bool:
        """Whether a value read from a store is in the domain, with its type."""

    @abstractmethod
    def draw(self, rng: random.Random) -> Value:
        """Return a random value of the domain."""


@dataclass(frozen=True)
class Choice(Searched):
    """A searched choice of one value from a list, or of one name from a mapping.

    A list has values of one field: numbers, texts, True, False, None, or names of parts. A mapping
    has the fields of each named part; parameters inside a choice are active only if it is taken.
    """

    values: Mapping[str, Any] | tuple[Value, ...]
    """The fields by name. A list of texts is a mapping of names without fields."""

    def __init__(self, values: Mapping[str, Any] | Sequence[Value]) -> None:
        kept = dict(values) if isinstance(values, Mapping) else _listed(values)
        if not kept:
            raise ValueError("Choice() needs at least one value")
        check_config(kept, "Choice")
        object.__setattr__(self, "values", kept)

    @property
    def options(self) -> tuple[Value, ...]:
        """The values, or the names, from which the search chooses."""
        return tuple(self.values)

    def fields(self, option: Value) -> Any:
        """Return the fields of an option, which may hold parameters; ``{}`` if it has none."""
        return self.values[cast("str", option)] if isinstance(self.values, Mapping) else {}

    def contains(self, value: object) -> bool:
        return any(type(value) is type(option) and value == option for option in self.options)

    def draw(self, rng: random.Random) -> Value:
        return rng.choice(self.options)


def _listed(values: object) -> Mapping[str, Any] | tuple[Value, ...]:
    """Return the values of a list: texts as names without fields, others as a tuple.

    Raises:
        ValueError: it is no list, or an item is no JSON scalar or equals another item.
    """
    if not isinstance(values, list | tuple):
        raise ValueError(
            f"Choice: {reprlib.repr(values)} must be a list of values, or a mapping from the names"
            " of parts to their fields"
        )
    items = cast("Sequence[Any]", values)
    for i, item in enumerate(items):
        infinite = type(item) is float and not math.isfinite(item)
        if infinite or type(item) not in (type(None), bool, int, float, str):
            raise ValueError(
                f"Choice: {reprlib.repr(item)} must be a finite int or float, text, True, False or"
                " None"
            )
        if item in items[:i]:
            equal = items[items.index(item)]
            raise ValueError(
                f"Choice: {equal!r} and {item!r} are equal; the values must differ (1, 1.0 and True"
                " are equal)"
            )
    if all(isinstance(item, str) for item in items):
        return {name: dict[str, Any]() for name in items}
    return tuple(items)


@dataclass(frozen=True, repr=False)
class Uniform(Searched):
    """A searched real number in [low, high]; with a ``step``, one of low, low + step, …, high."""

    low: float
    high: float
    step: float | None = None
    log = False

    def __post_init__(self) -> None:
        check_types(self)
        _check_range(self)
        least = LEAST_STEP * max(abs(self.low), abs(self.high))
        if self.step is not None and self.step < least:
            raise ValueError(
                f"Uniform: step={self.step} must be at least {least:g}, a millionth of the largest"
                " value"
            )
        _check_steps(self)

    def __repr__(self) -> str:
        return _without_none(self)

    def contains(self, value: object) -> bool:
        if not isinstance(value, float | int) or isinstance(value, bool):
            return False
        if self.step is None or not self.low <= value <= self.high:
            return self.low <= value <= self.high
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < TOLERANCE

    def draw(self, rng: random.Random) -> float:
        if self.step is None:
            return rng.uniform(self.low, self.high)
        steps = rng.randrange(round((self.high - self.low) / self.step) + 1)
        return on_step(self.low + steps * self.step, self.low, self.step)


def on_step(value: float, low: float, step: float) -> float:
    """Return the nearest of low, low + step, …, as it is written in decimals.

    Floating-point sums differ from it, so that a config that names the value would be another one.

    >>> 2 * 0.3 + 0.3, on_step(2 * 0.3 + 0.3, 0, 0.3)
    (0.8999999999999999, 0.9)
    """
    return float(Decimal(str(low)) + round((value - low) / step) * Decimal(str(step)))


@dataclass(frozen=True, repr=False)
class LogUniform(Uniform):
    """A searched positive number in [low, high], on a logarithmic scale."""

    log = True

    def __post_init__(self) -> None:
        if self.step is not None:
            raise ValueError(
                f"LogUniform: step={self.step!r} is not allowed on a logarithmic scale; list the"
                " values with Choice([...])"
            )
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"LogUniform: low={self.low} must be positive")


@dataclass(frozen=True, repr=False)
class Integer(Searched):
    """A searched whole number in low..high; with a ``step``, one of low, low + step, …, high."""

    low: int
    high: int
    step: int | None = None

    def __post_init__(self) -> None:
        check_types(self)
        _check_range(self)
        _check_steps(self)

    def __repr__(self) -> str:
        return _without_none(self)

    def contains(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % (self.step or 1) == 0

    def draw(self, rng: random.Random) -> int:
        return rng.randrange(self.low, self.high + 1, self.step or 1)


def _without_none(parameter: Uniform | Integer) -> str:
    """Return the repr of a range without its step if it has none; studies hash the repr."""
    given = {f.name: getattr(parameter, f.name) for f in fields(parameter)}
    texts = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    return f"{type(parameter).__name__}({', '.join(texts)})"


def _check_range(parameter: Uniform | Integer) -> None:
    name, step = type(parameter).__name__, parameter.step
    if not parameter.low < parameter.high:
        raise ValueError(f"{name}: low={parameter.low} must be below high={parameter.high}")
    if step is not None and step <= 0:
        raise ValueError(f"{name}: step={step} must be positive")


def _check_steps(parameter: Uniform | Integer) -> None:
    """Check, in the decimals as written, that a range is a whole number of steps.

    Optuna would lower ``high`` otherwise.
    """
    if parameter.step is None:
        return
    low, high, step = (Decimal(str(n)) for n in (parameter.low, parameter.high, parameter.step))
    steps, rest = divmod(high - low, step)
    if rest:
        raise ValueError(
            f"{type(parameter).__name__}: high={high} must be low={low} plus a whole number of"
            f" steps of {step}, such as {low + (steps + 1) * step:f}"
        )


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Parameter]]:
    """Yield all parameters of a config by path, conditional ones after their choice."""
    if isinstance(value, Parameter):
        yield path, value
    if isinstance(value, Choice):
        for option in value.options:
            yield from walk(value.fields(option), f"{path}.{option}")
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield from walk(inner, f"{path}.{key}" if path else key)
