"""Validation errors of a scenario, one line each: place, key, allowed values."""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, ValidationError

from cluster.scenario.schema import Scenario
from topology.strict_yaml import Document

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
"""Allowed values as text, by pydantic's type of error."""
LONGEST_SHOWN = 60


def explain(
    error: ValidationError,
    data: Mapping[str, Any],
    document: Document,
    origin: Mapping[Keys, str],
) -> str:
    """Every error of ``data`` on its own line.

    ``origin`` has the source of keys that are not from the document.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    for found in error.errors():
        keys = _keys(found, data)
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
    """Several alternatives, as of a value that is a number or a word."""
    return [choices[0], *(choice.removeprefix("must be ") for choice in choices[1:])]


def _where(keys: Keys, found: Any, document: Document, origin: Mapping[Keys, str]) -> str:
    """The word that set the key or a key below it, or the line of the file."""
    above = (text for at, text in origin.items() if keys[: len(at)] == at)
    below = (text for at, text in origin.items() if at[: len(keys)] == keys)
    own = found["type"] not in {"value_error", "missing"}  # these concern several keys
    said = next(above, next(below, None) if own else None)
    if said is not None:
        return said
    return document.where(keys) if document.lines else document.name


def _breach(keys: Keys, found: Any) -> tuple[str, str]:
    """What was found, and what is allowed."""
    name = ".".join(map(_shown_key, keys)) or "scenario"
    kind, value = found["type"], found["input"]
    if kind == "extra_forbidden":
        known = _known_keys(keys[:-1])
        meant = _near(str(keys[-1]), known)
        hint = f"did you mean {meant!r}?" if meant else f"allowed: {', '.join(sorted(known))}"
        return f"unknown key {name if len(keys) > 1 else str(keys[-1])!r}; ", hint
    if _of_key(found):
        return f"the key {value!r} of {_above(keys)} ", "must be text"
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
    """A value as YAML, shortened if it is long."""
    text = json.dumps(value, default=str) if value is None or isinstance(value, bool) else ""
    text = text or repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def _plain(bound: object) -> object:
    """A bound as text: 0 and not 0.0."""
    return f"{bound:g}" if isinstance(bound, float) else bound


def _keys(found: Any, data: Mapping[str, Any]) -> Keys:
    """Where in ``data`` the error is.

    Pydantic's path also has the branches of unions, whose names may look like keys: they are
    recognised because the data has no such key. A missing or disallowed key is always the last
    step.
    """
    here: Any = data
    keys: list[str | int] = []
    path = [step for step in found["loc"] if step != "[key]"]
    speaks_of_key = found["type"] in {"extra_forbidden", "missing"} or _of_key(found)
    for place, step in enumerate(path):
        leads = _leads(here, step)
        if leads or (speaks_of_key and place == len(path) - 1):
            keys.append(step)
        here = here[step] if leads else here
    return tuple(keys)


def _of_key(found: Any) -> bool:
    """Whether it is the key that is wrong, not what it holds."""
    return bool(found["type"] == "invalid_key" or found["loc"][-1:] == ("[key]",))


def _leads(here: Any, step: str | int) -> bool:
    """Whether ``here`` has something at ``step``."""
    if isinstance(here, list | tuple):
        return isinstance(step, int) and 0 <= step < len(here)
    return step in here if isinstance(here, Mapping) else False


def _shown_key(key: str | int) -> str:
    """A key as part of a dotted name, quoted if it would be ambiguous."""
    return str(key) if re.fullmatch(r"[\w.-]+", str(key)) else repr(key)


def _above(keys: Keys) -> str:
    return ".".join(map(_shown_key, keys[:-1])) or "the scenario"


def _near(key: str, known: list[str]) -> str | None:
    """The likely key: equal except for hyphens, spaces and capitals, else the nearest."""
    plain = re.sub(r"\W+", "_", key.strip()).lower()
    return plain if plain in known else next(iter(get_close_matches(plain, known, n=1)), None)


def _known_keys(keys: Keys) -> list[str]:
    model: type[BaseModel] = Scenario
    for key in keys:
        if isinstance(key, int):
            continue
        if key in model.model_fields:
            annotation = model.model_fields[key].annotation
            model = next(_models_in(annotation), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
