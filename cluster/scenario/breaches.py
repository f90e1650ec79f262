"""What is wrong with a scenario, one line for each breach: where, which key, what it may be."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, ValidationError

from cluster.scenario.model import Scenario
from topology.document import Document

Keys: TypeAlias = tuple[str | int, ...]

ALLOWED = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be finite",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "dict_type": "must hold keys with values",
    "model_type": "must hold keys with values",
}
"""What may be, by pydantic's type of error, in words of its context."""
LONGEST_SHOWN = 60


def explain(error: ValidationError, document: Document, origin: Mapping[Keys, str]) -> str:
    """Every breach on a line of its own.

    ``origin`` says which keys did not come from the document, and where from.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    for found in error.errors():
        keys: Keys = tuple(key for key in found["loc"] if _names(key))
        where = _where(keys, found, document, origin)
        what, allowed = _breach(keys, found)
        choices = lines.setdefault((where, what), [])
        if allowed not in choices:
            choices.append(allowed)
    return "\n  ".join(
        f"{where}: {what}{' or '.join(_joined(choices))}"
        for (where, what), choices in lines.items()
    )


def _joined(choices: list[str]) -> list[str]:
    """Several ways to be right, as of a value that is a number or a word."""
    return [choices[0], *(choice.removeprefix("must be ") for choice in choices[1:])]


def _where(keys: Keys, found: Any, document: Document, origin: Mapping[Keys, str]) -> str:
    """The word that set the key, one that set something below it, or the line of the file."""
    above = (text for at, text in origin.items() if keys[: len(at)] == at)
    below = (text for at, text in origin.items() if at[: len(keys)] == keys)
    own = found["type"] not in {"value_error", "missing"}  # these speak of several keys
    said = next(above, next(below, None) if own else None)
    if said is not None:
        return said
    return document.where(keys) if document.lines else document.name


def _breach(keys: Keys, found: Any) -> tuple[str, str]:
    """What was found, and what is allowed."""
    name = ".".join(map(str, keys)) or "scenario"
    kind, value = found["type"], found["input"]
    if kind == "extra_forbidden":
        known = _known_keys(keys[:-1])
        near = get_close_matches(str(keys[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(sorted(known))}"
        return f"unknown key {name!r}; ", hint
    if kind == "missing":
        return f"{name} is missing", ""
    message = str(found["msg"]).removeprefix("Value error, ")
    allowed = f"{message[0].lower()}{message[1:]}"
    if kind in ALLOWED:
        context = found.get("ctx", {})
        allowed = ALLOWED[kind].format(**{name: _plain(bound) for name, bound in context.items()})
    if kind == "literal_error":
        near = get_close_matches(str(value), found["ctx"]["expected"].split("'"), n=1)
        allowed += f"; did you mean {near[0]!r}?" if near else ""
    whole = isinstance(value, Mapping | BaseModel) and kind == "value_error"
    return (f"{name}: " if whole else f"{name} is {_shown(value)}; "), allowed


def _shown(value: object) -> str:
    """A value as YAML would have it, if it is not long."""
    text = json.dumps(value, default=str) if value is None or isinstance(value, bool) else ""
    text = text or repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def _plain(bound: object) -> object:
    """A bound as one would write it: 0 and not 0.0."""
    return f"{bound:g}" if isinstance(bound, float) else bound


def _names(key: str | int) -> bool:
    """Whether a step of pydantic's path is a key of the file (and not a branch of a union)."""
    branch = key in {"int", "float", "str", "bool"} if isinstance(key, str) else False
    return isinstance(key, int) or not (branch or "[" in key or "-" in key)


def _known_keys(keys: Keys) -> list[str]:
    model: type[BaseModel] = Scenario
    for key in keys:
        if isinstance(key, int):
            continue
        annotation = model.model_fields[key].annotation
        model = next(_models_in(annotation), model)
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
