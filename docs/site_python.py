"""The page of the Python API, written from signatures and docstrings of ``corsair_sim``."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

FUNCTIONS = ("load", "simulate", "replay", "sweep", "plan", "open_run", "open_sweep")
LISTS = ("Parameters", "Raises")
"""Sections of a docstring whose entries are a name and an indented text."""
_SECTION = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)
_PREFIX = re.compile(r"\b(?:\w+\.)+(?=\w)")


def python_page() -> Iterator[str]:
    """Functions in the order of their use, then results, then errors."""
    import corsair_sim

    others = [name for name in corsair_sim.__all__ if name not in FUNCTIONS]
    errors = [name for name in others if name.endswith("Error")]
    yield "# Python"
    yield ""
    yield "Everything is imported from `corsair_sim`, on first use. `dir(corsair_sim)` and"
    yield "`help(corsair_sim.simulate)` show the same."
    for name in FUNCTIONS:
        yield from _function(name, getattr(corsair_sim, name))
    for name in others:
        if name not in errors:
            yield from _class(name, getattr(corsair_sim, name))
    yield ""
    yield "## Errors"
    yield ""
    yield "`exit_code` of an error is that of the command: 2 wrong input, 3 cannot run."
    yield ""
    for name in errors:
        kind = getattr(corsair_sim, name)
        yield f"- `{name}` ({kind.__base__.__name__}): {inspect.getdoc(kind)}"


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    yield ""
    yield "```python"
    yield signature(name, function)
    yield "```"
    yield from markdown(inspect.getdoc(function) or "")


def _class(name: str, kind: type) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    yield from markdown(inspect.getdoc(kind) or "")
    if name == "Scenario":
        yield ""
        yield "Its keys: [Keys of a scenario](scenario.md)."
        return
    if all(each.default is not each.empty for each in inspect.signature(kind).parameters.values()):
        yield ""
        yield "```python"
        yield signature(name, kind).removesuffix(" -> None")
        yield "```"
        return
    yield ""
    for heading, text in members(kind):
        first = text.split("\n\n")[0].replace("\n", " ")
        yield f"- `{heading}`: {first}"


def members(kind: type) -> Iterator[tuple[str, str]]:
    """Described fields, properties and methods of a class, in the order of its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    for item, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name, text = item.target.id, _text(after)
            heading = f"{name}: {ast.unparse(item.annotation)}"
        elif isinstance(item, ast.FunctionDef):
            name, text = item.name, ast.get_docstring(item)
            heading = name if item.decorator_list else f"{name}({_names(getattr(kind, name))})"
        else:
            continue
        if text and not name.startswith("_"):
            yield " ".join(heading.split()), inspect.cleandoc(text)


def _text(node: ast.stmt | None) -> str | None:
    """The string that describes the field before it."""
    said = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return str(node.value.value) if said else None  # type: ignore[union-attr]


def signature(name: str, call: Callable[..., Any]) -> str:
    """A call with its parameters, one a line; types without their modules."""
    shape = inspect.signature(call)
    lines = [f"    {_plain(str(each))},\n" for each in _starred(shape.parameters.values())]
    returned = shape.return_annotation
    arrow = f" -> {_plain(inspect.formatannotation(returned))}" if returned else ""
    return f"{name}(\n{''.join(lines)}){arrow}"


def _plain(text: str) -> str:
    """A parameter or a type as source text, without default functions."""
    text = re.sub(r"<function .*>", "...", _PREFIX.sub("", text))
    return re.sub(r"Union\[(.+), (Literal\[.+?\])\]", r"\1 | \2", text)


def _names(function: Callable[..., Any]) -> str:
    """Names of a method's parameters."""
    parameters = inspect.signature(function).parameters.values()
    return (
        ", ".join(each if isinstance(each, str) else each.name for each in _starred(parameters))
        .removeprefix("self")
        .removeprefix(", ")
    )


def _starred(parameters: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter | str]:
    """The parameters, with a star before the keyword-only ones."""
    star = False
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        yield each


def markdown(docstring: str) -> Iterator[str]:
    """A docstring in numpydoc's form as Markdown."""
    head, *rest = _SECTION.split(docstring)
    yield ""
    yield head.strip()
    for title, text in zip(rest[::2], rest[1::2], strict=True):
        yield ""
        if title == "Examples":
            yield "```pycon"
            yield text.strip()
            yield "```"
            continue
        yield f"**{title}**"
        yield ""
        yield from _entries(text) if title in LISTS else (text.strip(),)


def _entries(text: str) -> Iterator[str]:
    for entry in re.split(r"\n(?=\S)", text.strip()):
        name, _, said = entry.partition("\n")
        yield f"- `{name}`: {' '.join(said.split())}"
