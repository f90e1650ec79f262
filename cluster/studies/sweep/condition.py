"""Conditions over a point's values: ``plan.tensor_parallel_size * plan.replicas > 8``.

Python's own grammar, evaluated node by node: names with dots, numbers, words, arithmetic,
comparisons, ``in``, ``and``, ``or``, ``not``, and ``min``, ``max``, ``abs``. No code is executed.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from cluster.studies.sweep.errors import SweepError

Look: TypeAlias = Callable[[str], Any]
"""Returns the value of a dotted name; raises SweepError for an unknown one."""

LONGEST = 1000
"""Letters of a condition."""

_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
    }
)
_COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.In: lambda item, group: item in group,
        ast.NotIn: lambda item, group: item not in group,
    }
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"min": min, "max": max, "abs": abs}
)
_WORDS = MappingProxyType({"true": True, "false": False, "null": None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A parsed condition; ``where`` is its file and line."""

    text: str
    where: str
    tree: ast.expr

    def holds(self, look: Look) -> bool:
        """Whether it is true of the values that ``look`` gives.

        Raises
        ------
        SweepError
            An unknown name, or values that cannot be compared or computed with.
        """
        try:
            return bool(_value(self.tree, look))
        except SweepError as error:
            raise SweepError(f"{self.where}: skip {self.text!r}: {error}") from None
        except (TypeError, ZeroDivisionError, OverflowError, RecursionError) as error:
            raise SweepError(f"{self.where}: skip {self.text!r}: {error}") from None


def read_condition(text: object, where: str) -> Condition:
    """Read one condition.

    Raises
    ------
    SweepError
        It is not text, not an expression, or uses syntax that is not allowed.
    """
    if not isinstance(text, str):
        raise SweepError(f"{where}: a condition is text, found {text!r}")
    if len(text) > LONGEST:
        raise SweepError(f"{where}: a condition of {len(text)} letters; at most {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree)
    except SyntaxError as error:
        raise SweepError(f"{where}: skip {text!r} is no condition: {error.msg}") from None
    except (SweepError, RecursionError) as error:
        raise SweepError(f"{where}: skip {text!r}: {error}") from None
    return Condition(text=text.strip(), where=where, tree=tree)


def _check(node: ast.expr) -> None:
    """Refuse every node that is not on the list, before anything is computed."""
    if isinstance(node, ast.Name | ast.Attribute):
        _name(node)
        return
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, int | float | str | bool | None):
            raise SweepError(f"{ast.unparse(node)} is no number, word or truth")
        return
    for child in _children(node):
        _check(child)


def _children(node: ast.expr) -> list[ast.expr]:
    """The children of an allowed node."""
    match node:
        case ast.BoolOp(values=values):
            return values
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            return [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _COMPARISONS for op in ops
        ):
            return [left, *others]
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return items
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return args
    allowed = "+ - * / // %, comparisons, in, and, or, not, min, max, abs"
    raise SweepError(f"{ast.unparse(node)!r} is not part of a condition; allowed: {allowed}")


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    raise SweepError(f"{ast.unparse(node)!r} is no dotted name")


def _value(node: ast.expr, look: Look) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            name = _name(node)
            return _WORDS[name] if name in _WORDS else look(name)
        case ast.BoolOp(op=op, values=values):
            join = all if isinstance(op, ast.And) else any
            return join(_value(each, look) for each in values)
        case ast.UnaryOp(op=op, operand=operand):
            return _unary(op, _value(operand, look))
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_number(left, look), _number(right, look))
        case ast.Compare():
            return _compared(node, look)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_number(each, look) for each in args))
    return tuple(_value(each, look) for each in _children(node))


def _unary(op: ast.unaryop, value: Any) -> Any:
    if isinstance(op, ast.Not):
        return not value
    if isinstance(value, str) or value is None:
        raise SweepError(f"{value!r} is no number")
    return -value if isinstance(op, ast.USub) else value


def _number(node: ast.expr, look: Look) -> Any:
    """A number to compute with: operators on words could grow without limit."""
    value = _value(node, look)
    if not isinstance(value, int | float):
        raise SweepError(f"{ast.unparse(node)} is {value!r}, which is no number")
    return value


def _compared(node: ast.Compare, look: Look) -> bool:
    """A chain of comparisons; null compares with nothing but itself."""
    left = _value(node.left, look)
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = _value(comparator, look)
        ordered = isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        if ordered and (left is None or right is None):
            return False
        if not _COMPARISONS[type(op)](left, right):
            return False
        left = right
    return True
