"""Mutants of code: one operator, constant, condition or statement of a function changed.

Text of messages is left alone (f-strings, and what a ``raise`` says), and so are annotations,
decorators, default values and what modules do when they are imported.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Change: TypeAlias = Callable[[Any], Any]
"""From a copy of a node to what stands in its place."""

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult,
}  # fmt: skip
CALLED = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil", "append": "extend"}
CALLED |= {other: one for one, other in CALLED.items()}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function."""

    path: str
    """Relative to the root of the project."""
    function: str
    """Qualified name of the outermost function or method."""
    line: int
    number: int
    """Its place among all changes of that file."""
    kind: str
    before: str
    after: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}:{self.number}"


def mutants_of(root: Path, path: str) -> list[Mutant]:
    """Every change of the functions of a file, in the order of its text."""
    found: list[Mutant] = []
    for function, node, kind, change in _changes(ast.parse((root / path).read_text("utf-8"))):
        after = change(copy.deepcopy(node))
        texts = [_line(node), _line(after)]
        found.append(Mutant(path, function, node.lineno, len(found), kind, *texts))
    return found


def mutated_code(root: Path, mutant: Mutant) -> CodeType:
    """Code of the mutant's outermost function, after the change."""
    tree = ast.parse((root / mutant.path).read_text("utf-8"))
    for number, (_, node, _, change) in enumerate(_changes(tree)):
        if number == mutant.number:
            tree = ast.fix_missing_locations(_Replaced(node, change).visit(tree))
            break
    module = compile(tree, str(root / mutant.path), "exec", dont_inherit=True)
    return next(code for code in _codes(module) if code.co_qualname == mutant.function)


class _Replaced(ast.NodeTransformer):
    def __init__(self, node: ast.AST, change: Change) -> None:
        self.node, self.change = node, change

    def visit(self, node: ast.AST) -> Any:
        if node is self.node:
            return ast.copy_location(self.change(copy.deepcopy(node)), node)
        return self.generic_visit(node)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _line(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:100]


def _changes(tree: ast.Module) -> Iterator[tuple[str, Any, str, Change]]:
    """Function, node, kind and change of everything that can be changed."""
    for name, function in _functions(tree, ""):
        for statement in function.body:
            for node in _nodes(statement):
                for kind, change in _changes_of(node):
                    yield name, node, kind, change


def _functions(scope: ast.AST, before: str) -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, Function):
            yield before + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{before}{node.name}.")


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, without text, annotations, defaults and decorators."""
    yield node
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, Function):
        inner: list[ast.AST] = [*node.body]
    elif isinstance(node, ast.AnnAssign):
        inner = [node.target, *([node.value] if node.value else [])]
    else:
        inner = list(ast.iter_child_nodes(node))
    for child in inner:
        yield from _nodes(child)


def _changes_of(node: Any) -> Iterator[tuple[str, Change]]:
    yield from _of_expression(node)
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "condition negated", lambda n: _with(n, test=ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "returned value", _returned
    elif _removable(node):
        yield "statement removed", lambda _: ast.Pass()


def _of_expression(node: Any) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            yield "comparison", _compared(at, COMPARED[type(operator)])
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in COMPUTED:
        yield "operator", lambda n: _with(n, op=COMPUTED[type(n.op)]())
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield "and/or", lambda n: _with(n, op=other())
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        yield "sign or not dropped", lambda n: n.operand
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.Call):
        yield from _call(node)


def _compared(at: int, operator: type[ast.cmpop]) -> Change:
    def change(node: ast.Compare) -> ast.Compare:
        node.ops[at] = operator()
        return node

    return change


def _with(node: Any, **changed: Any) -> Any:
    for name, value in changed.items():
        setattr(node, name, value)
    return node


def _constant(node: ast.Constant) -> Iterator[tuple[str, Change]]:
    if isinstance(node.value, bool):
        yield "constant", lambda n: _with(n, value=not n.value)
    elif isinstance(node.value, int | float):
        yield "constant", lambda n: _with(n, value=n.value + 1)
        yield "constant", lambda n: _with(n, value=n.value - 1)


def _call(node: ast.Call) -> Iterator[tuple[str, Change]]:
    of = node.func
    if isinstance(of, ast.Name) and of.id in CALLED:
        yield "function", lambda n: _with(n, func=_with(n.func, id=CALLED[n.func.id]))
    elif isinstance(of, ast.Attribute) and of.attr in CALLED:
        yield "function", lambda n: _with(n, func=_with(n.func, attr=CALLED[n.func.attr]))


def _returned(node: ast.Return) -> Any:
    """The opposite of a truth value, None for anything else (or a number for None)."""
    if isinstance(node.value, ast.Compare | ast.BoolOp):
        return _with(node, value=ast.UnaryOp(ast.Not(), node.value))
    return _with(node, value=ast.Constant(None))


def _removable(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return not any(isinstance(each, ast.Name | ast.Tuple) for each in node.targets)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Break | ast.Continue)
