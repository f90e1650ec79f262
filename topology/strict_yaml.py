"""The strict YAML reader: one document, YAML 1.2, the line of every key, no silent loss."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from corsair_common.limits import read_bounded

KeyPath: TypeAlias = tuple[str | int, ...]

MOST_NODES = 200_000
"""Keys and values after aliases are expanded: beyond this a document is an attack or a mistake."""
DEEPEST = 60

_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)\Z")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class DocumentError(ValueError):
    """A YAML file that cannot be read as exactly one plain document."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The content of a YAML file as plain dicts, lists and scalars, with line numbers.

    Keys are always text. ``.nan`` and ``.inf`` are accepted here; the code that uses the number
    refuses it.
    """

    name: str
    """The file's name as the user wrote it."""
    data: Any
    lines: Mapping[KeyPath, int]
    """Line (from 1) of every key and list item; the empty path is the document itself."""

    def line_of(self, path: KeyPath) -> int:
        """The line of ``path``, or of the nearest part of it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def where(self, path: KeyPath = ()) -> str:
        """``file:line`` of ``path``, as an error names it."""
        return f"{self.name}:{self.line_of(path)}"

    def mapping(self) -> dict[str, Any]:
        """The data, which must be keys with values; else a DocumentError."""
        if not isinstance(self.data, dict):
            found = "nothing" if self.data is None else f"a {type(self.data).__name__}"
            raise DocumentError(f"{self.where()}: expected keys with values, found {found}")
        return self.data


def read_document(path: str | Path) -> Document:
    """Read one YAML file (UTF-8).

    Raises
    ------
    DocumentError
        The file cannot be opened, is not UTF-8, or is not one plain YAML document.
    """
    try:
        content = read_bounded(path)
    except FileNotFoundError:
        raise DocumentError(f"{path}: no such file") from None
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            f"{path}:{line}: not UTF-8 text (byte 0x{content[error.start]:02x})"
        ) from None
    return parse_document(text, str(path))


def parse_document(text: str, name: str = "<text>") -> Document:
    """Read one YAML document from ``text``; ``name`` stands for the file in errors.

    Raises
    ------
    DocumentError
        Not YAML, more than one document, a duplicate key, a tag, an alias that expands beyond
        ``MOST_NODES`` or contains itself.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    builder = _Builder(name, YAML(typ="safe", pure=True).parse(_characters(text, name)))
    try:
        return builder.document()
    except DocumentError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        what = "; ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError(f"{name}{line}: not YAML: {what}") from None
    except (YAMLError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise DocumentError(f"{name}: not YAML: {what}") from None


_PAIR = re.compile(r"\\u([dD][89aAbB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def _characters(text: str, name: str) -> str:
    """The text with characters that JSON escapes in two halves as themselves."""

    def joined(pair: re.Match[str]) -> str:
        high, low = (int(half, 16) for half in pair.groups())
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

    found = _PAIR.sub(joined, text)
    if half := _HALF.search(found):
        line = found.count("\n", 0, half.start()) + 1
        raise DocumentError(f"{name}:{line}: {half[0]} is half of a character: write it whole")
    return found


class _Builder:
    """Converts the parser's events to plain data and records lines and anchors."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self._name = name
        self._events = events
        self._lines: dict[KeyPath, int] = {(): 1}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def document(self) -> Document:
        data = None
        documents = 0
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise self._refusal(event, "a second document begins; one file holds one")
                data = self._value(next(self._events), ())
        return Document(name=self._name, data=data, lines=self._lines)

    def _value(self, event: Any, path: KeyPath) -> Any:
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event)
        self._count(event, 1)
        if len(path) > DEEPEST:
            raise self._refusal(event, f"nested more than {DEEPEST} levels deep")
        if event.tag is not None and str(event.tag) not in ("", "!"):
            raise self._refusal(event, f"the tag {event.tag} is not read; write plain values")
        before = self._nodes
        value: Any
        if kind == "ScalarEvent":
            value = self._scalar(event)
        elif kind == "SequenceStartEvent":
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._nodes - before + 1)
        return value

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            if type(event).__name__ != "ScalarEvent":
                raise self._refusal(event, "a key must be a plain word")
            self._count(event, 1)
            key, line = str(event.value), event.start_mark.line + 1
            here = (*path, key)
            if key in found:
                raise self._refusal(
                    event, f"{key!r} is a duplicate key: first in line {self._lines[here]}"
                )
            self._lines[here] = line
            found[key] = None
            found[key] = self._value(next(self._events), here)
        return found

    def _sequence(self, path: KeyPath) -> list[Any]:
        found: list[Any] = []
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            here = (*path, len(found))
            self._lines[here] = event.start_mark.line + 1
            found.append(self._value(event, here))
        return found

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise self._refusal(
                event, f"the alias *{event.anchor} has no finished anchor before it"
            )
        value, size = self._anchors[event.anchor]
        self._count(event, size)
        return copy.deepcopy(value)

    def _scalar(self, event: Any) -> Any:
        text = str(event.value)
        if event.style in ("'", '"', "|", ">") or str(event.tag or "") == "!":
            return text
        if _INTEGER.match(text) or _BASED.match(text):
            return self._integer(event, text)
        if _FLOAT.match(text):
            return float(text)
        if infinite := _INFINITE.match(text):
            return float(infinite[1] + "inf")
        return _WORDS.get(text, text)

    def _integer(self, event: Any, text: str) -> int:
        if len(text) > 40:
            raise self._refusal(event, f"an integer of {len(text)} digits")
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise self._refusal(event, f"more than {MOST_NODES:,} values once aliases are expanded")

    def _refusal(self, event: Any, what: str) -> DocumentError:
        return DocumentError(f"{self._name}:{event.start_mark.line + 1}: {what}")
