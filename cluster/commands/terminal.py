"""Output of every command: JSON, formatted text, and notes on stderr."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
ScenarioFile = Annotated[
    Path | None, typer.Argument(help="A scenario file; the bundled chat example without one.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="path.to.key=value; may be repeated.", metavar="KEY=VAL"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
_CONTROL = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
)
"""What moves the cursor, colours, or reverses text: names from files may hold it."""


def show(payload: Mapping[str, object], text: str, *, as_json: bool, quiet: bool = False) -> None:
    """Print a command's result on stdout: ``payload`` as JSON on request, else ``text``."""
    if as_json:
        sys.stdout.write(json.dumps(payload, allow_nan=False) + "\n")
    elif not quiet:
        encoding = sys.stdout.encoding or "utf-8"
        plain = escaped(text).encode(encoding, "backslashreplace")  # as stderr does it
        sys.stdout.write(plain.decode(encoding).rstrip("\n") + "\n")


def note(text: str) -> None:
    """Print a note on stderr."""
    sys.stderr.write(escaped(text).rstrip("\n") + "\n")


def escaped(text: str) -> str:
    r"""``text`` with control characters as ``\x1b``; ends of lines and tabs stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format rows under headers: numbers flush right, words flush left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(headers))
    ]

    def laid(line: Sequence[str]) -> str:
        parts = [
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(line, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    rule = ["-" * width for width in widths]
    return "\n".join(laid(line) for line in [list(headers), rule, *cells])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escaped(str(value)).replace("\n", "\\n")
