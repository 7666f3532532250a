"""Constraints between the values of a config, written as text so that a space is plain data."""

from __future__ import annotations

import ast
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast


def _divide(a: Any, b: Any) -> Any:
    return a / b


def _within(a: Any, b: Any) -> bool:
    return a in b


def _not_within(a: Any, b: Any) -> bool:
    return a not in b


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: _within,
    ast.NotIn: _not_within,
}
_RULE = "must compare values, e.g. 'mode.diffusion.t_low + 0.2 <= mode.diffusion.t_high'"


class AbsentError(LookupError):
    """A config has no value at a path."""


def paths(rule: str) -> set[str]:
    """Return the paths that a constraint names.

    >>> sorted(paths("train.batch * train.steps <= 4000 or model == 'intensity'"))
    ['model', 'train.batch', 'train.steps']

    Raises:
        ValueError: the rule is not a comparison of paths, numbers, texts and lists.
    """
    return _paths(_parsed(rule), rule)


def holds(rule: str, config: Mapping[str, Any]) -> bool:
    """Whether a config in plain form satisfies a constraint; the value of a part is its name.

    A constraint on a path that a config does not have, such as the parameter of another
    schedule, is satisfied.

    >>> config = {"mode": {"diffusion": {"schedule": {"cosine": {"shift": -1.0}}}}}
    >>> holds("mode.diffusion.schedule != 'cosine'", config)
    False
    >>> holds("mode.diffusion.schedule.laplace.scale < 1", config)
    True
    """
    try:
        return bool(_value(_parsed(rule), config))
    except AbsentError:
        return True
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError(f"constraint {rule!r}: {error}") from None


def look_up(config: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path; the value of a part is its name.

    Raises:
        AbsentError: there is no value.
    """
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise AbsentError(path)
        value = cast("Mapping[str, Any]", value)[key]
    if isinstance(value, Mapping):
        part = cast("Mapping[str, Any]", value)
        name = next(iter(part), "")
        return name if len(part) == 1 and isinstance(part[name], Mapping) else dict(part)
    return value


def _parsed(rule: str) -> ast.expr:
    try:
        node = ast.parse(rule, mode="eval").body
    except (SyntaxError, TypeError):
        raise ValueError(f"constraint {rule!r} {_RULE}") from None
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    if not isinstance(inner, ast.Compare | ast.BoolOp):
        raise ValueError(f"constraint {rule!r} {_RULE}")
    return node


def _paths(node: ast.expr, rule: str) -> set[str]:
    path = _path(node)
    if path is not None:
        return {path}
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return set()
    operators: Sequence[ast.AST] = ()
    if isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.Compare):
        parts, operators = [node.left, *node.comparators], [*node.ops]
    elif isinstance(node, ast.BinOp):
        parts, operators = [node.left, node.right], [node.op]
    elif isinstance(node, ast.UnaryOp):
        parts, operators = [node.operand], [node.op]
    elif isinstance(node, ast.List | ast.Tuple):
        parts = node.elts
    else:
        raise ValueError(f"constraint {rule!r}: {ast.unparse(node)!r} is not allowed; it {_RULE}")
    for used in operators:
        if type(used) not in _OPERATORS:
            raise ValueError(f"constraint {rule!r}: {type(used).__name__} is not allowed")
    return {name for part in parts for name in _paths(part, rule)}


def _path(node: ast.expr) -> str | None:
    """Return ``a.b.c`` as text; None if the node is not a path."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        above = _path(node.value)
        return None if above is None else f"{above}.{node.attr}"
    return None


def _value(node: ast.expr, config: Mapping[str, Any]) -> Any:
    path = _path(node)
    if path is not None:
        return look_up(config, path)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BoolOp):
        values = (_value(part, config) for part in node.values)
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.Compare):
        sides = [_value(part, config) for part in (node.left, *node.comparators)]
        steps = zip(node.ops, itertools.pairwise(sides), strict=True)
        return all(_OPERATORS[type(op)](*pair) for op, pair in steps)
    if isinstance(node, ast.BinOp | ast.UnaryOp):
        parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
        return _OPERATORS[type(node.op)](*(_value(part, config) for part in parts))
    assert isinstance(node, ast.List | ast.Tuple), "paths() refuses everything else"
    return [_value(part, config) for part in node.elts]
