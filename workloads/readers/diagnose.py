"""Finds the first wrong line of a rejected file, and the reason."""

import csv
import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workloads.readers.files import open_trace
from workloads.readers.trace_format import TraceFormat
from workloads.requests import MOST_TOKENS, TraceError

_WHOLE = re.compile(r"-?[0-9]+")
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)
_INT64 = 2**63
_DIGITS = 100  # more than any number has; Python refuses thousands
_SHOWN = 60


def check_columns(path: Path, form: TraceFormat, names: Sequence[str]) -> None:
    """Refuse a file whose header or first object lacks a column, or names one twice."""
    for needed in form.needed:
        if needed not in names:
            near = difflib.get_close_matches(needed, names, n=1, cutoff=0.5)
            hint = f"; is it {near[0]!r}?" if near else ""
            found = ", ".join(repr(name) for name in names) or "nothing"
            raise TraceError(
                f"{path}:1: column {needed!r} of format {form.name} is missing{hint} "
                f"(found {found})"
            )
        if list(names).count(needed) > 1:
            raise TraceError(f"{path}:1: column {needed!r} is a duplicate")


def first_fault(path: Path, form: TraceFormat, *, zone: bool = False, otherwise: str) -> TraceError:
    """Find the first wrong value of a file that the fast path refused.

    ``zone`` says whether times of day carry an offset from UTC; ``otherwise`` is what to report if
    every line looks right on its own.
    """
    lines = _csv_lines(path, form) if form.container == "csv" else _json_lines(path)
    with_ids: bool | None = None
    for number, values in lines:
        for name, why in faults_of(form, values, zone=zone):
            return TraceError(f"{path}:{number}: column {name!r}: {why}")
        has_ids = values.get(form.hash_ids) is not None
        with_ids = has_ids if with_ids is None else with_ids
        if has_ids != with_ids:
            why = "is missing" if with_ids else "found ids"
            return TraceError(
                f"{path}:{number}: column {form.hash_ids!r}: {why}; all lines or none must have it"
            )
    return TraceError(f"{path}: {otherwise}")


def _csv_lines(path: Path, form: TraceFormat) -> Iterator[tuple[int, Mapping[str, object]]]:
    header: list[str] = []
    for number, line in text_lines(path):
        cells = cells_of(path, number, line)
        if not header:
            header = cells
            continue
        if len(cells) != len(header):
            last = "; the line ends without a newline: cut off?" if line[-1:] != "\n" else ""
            raise TraceError(
                f"{path}:{number}: found {len(cells)} values, the header has {len(header)}{last}"
            )
        yield number, {name: cells[header.index(name)] for name in form.needed}


def cells_of(path: Path, number: int, line: str) -> list[str]:
    """Split one line of a CSV file, or say why it is none."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:
        raise TraceError(f"{path}:{number}: not a line of a CSV file ({error})") from None


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in text_lines(path):
        yield number, parsed_object(path, number, line)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that are not blank, or say which is no UTF-8."""
    with open_trace(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise TraceError(f"{path}:{number}: not UTF-8 text ({error.reason})") from None
            if text.strip("\r\n"):
                yield number, text


def parsed_object(path: Path, number: int, line: str) -> Mapping[str, object]:
    """Read one line's JSON object, or say where and why it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # the second: brackets in brackets without end
        cut = "" if line.endswith("\n") else "; the line ends without a newline: cut off?"
        raise TraceError(f"{path}:{number}: not a JSON object ({error}{cut})") from None
    if not isinstance(value, dict):
        raise TraceError(f"{path}:{number}: found {shown(line)}; one JSON object is needed")
    return value


def faults_of(
    form: TraceFormat, values: Mapping[str, object], *, zone: bool
) -> Iterator[tuple[str, str]]:
    """Yield the column and the complaint of everything wrong on one line."""
    missing = [name for name in form.needed if name not in values]
    if missing:
        yield missing[0], "is missing"
        return
    prompt, output = values[form.prompt], values[form.output]
    checks = (
        (form.time, _time_fault(values[form.time], form, zone) if form.time else ""),
        (form.output, _tokens_fault(output)),
        (form.prompt, _tokens_fault(prompt)),
    )
    yield from ((name, why) for name, why in checks if why)
    failed = 0 in (whole(prompt), whole(output))
    if values.get(form.hash_ids) is not None and not failed and not any(w for _, w in checks):
        why = _ids_fault(values[form.hash_ids], whole(prompt) or 0, form.hash_block_tokens)
        if why:
            yield form.hash_ids, why
    if form.token_ids and not failed:
        why = _tokens_ids_fault(values.get(form.token_ids), whole(prompt) or 0)
        if why:
            yield form.token_ids, why


def _time_fault(value: object, form: TraceFormat, zone: bool) -> str:
    if form.time_unit == "wall":
        match = _MOMENT.fullmatch(str(value).strip(" \t"))
        if not match:
            return f"found {shown(value)}; a time like 2023-11-16 18:15:46.6805900 is needed"
        if bool(match["zone"]) != zone:
            return f"found {shown(value)}; a UTC offset must stand in all rows or in none"
        return ""
    if form.time_unit == "ns":
        return _count_fault(value, 0)
    number = _number(value)
    if number is None or (form.container == "jsonl" and isinstance(value, str)):
        return f"found {shown(value)}; a number of {form.time_unit} is needed"
    if not 0 <= number < 9.2e9 * {"s": 1, "ms": 1e3}.get(form.time_unit, 1e6):
        return f"found {shown(value)}; time counts from the trace's start, finite and not negative"
    return ""


def _tokens_fault(value: object) -> str:
    """Complain of a count of tokens; zero marks a failed request, which is left out."""
    return "" if whole(value) == 0 else _count_fault(value, 1, MOST_TOKENS)


def _count_fault(value: object, least: int, most: int = _INT64 - 1) -> str:
    number = whole(value)
    if number is None:
        return f"found {shown(value)}; a whole number is needed"
    if not -_INT64 <= number < _INT64:
        return f"found {shown(value)}; a whole number of 64 bits is needed"
    if number < least:
        return f"found {shown(value)}; at least {least} is needed"
    if number > most:
        return f"found {shown(value)}; at most {most} is allowed"
    return ""


def _ids_fault(value: object, prompt: int, block_tokens: int) -> str:
    if not isinstance(value, list) or not all(map(is_id, value)):
        return f"found {shown(value)}; a list of integers of 64 bits or strings is needed"
    full, started = prompt // block_tokens, -(-prompt // block_tokens)
    if not full <= len(value) <= started:
        need = str(full) if full == started else f"{full} or {started}"
        return (
            f"found {len(value)} ids; {prompt} tokens in blocks of {block_tokens} need {need} "
            "(hash_block_tokens says how many tokens a block has)"
        )
    return ""


def _tokens_ids_fault(value: object, prompt: int) -> str:
    if not isinstance(value, list) or any(_count_fault(each, -_INT64) for each in value):
        return f"found {shown(value)}; a list of whole numbers is needed"
    if len(value) != prompt:
        return f"found {len(value)} token ids; the prompt has {prompt} tokens"
    return ""


def is_id(value: object) -> bool:
    """See whether a value names a block: an integer of 64 bits, signed or not, or a string."""
    if isinstance(value, bool):
        return False
    return isinstance(value, str) or (isinstance(value, int) and -_INT64 <= value < 2 * _INT64)


def whole(value: object) -> int | None:
    """Read a whole number as the parsers do, whatever its size; None if it is none."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip(" \t")):
        return int(value.strip(" \t")) if len(value) < _DIGITS else _INT64
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if not math.isnan(number) else None


def shown(value: object) -> str:
    """Show a value, cut if it is long."""
    if value == "":
        return "an empty value"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
