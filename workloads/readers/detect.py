"""Detects the format of a trace file from its columns and the user's options."""

import difflib
import math
from dataclasses import replace
from pathlib import Path

from workloads.readers.files import open_trace
from workloads.readers.published_formats import FORMS, LLMSERVINGSIM
from workloads.readers.sessions import SUB_REQUESTS
from workloads.readers.trace_format import ReadOptions, TraceFormat
from workloads.requests import TraceError

FORMATS = ("auto", "parquet", *(form.name for form in FORMS))
"""Allowed values of ``format``."""

CUSTOM = "custom"
"""Name of the format of a file whose three columns the user names."""

_MAGIC = b"PAR1"


def detect_form(path: Path, options: ReadOptions) -> TraceFormat | None:
    """Return the format of a file with the user's options applied; None for Parquet.

    Of several matches, the one with most of its own columns present is used. A file with lengths
    and no times gets a form without time.
    """
    found = _names(path)
    if found is None:
        return None
    container, names = found
    if SUB_REQUESTS in names:
        return LLMSERVINGSIM.adapted(options)
    forms = [form.adapted(options) for form in FORMS if form.container == container]
    fitting = [form for form in forms if set(form.needed + form.marks) <= set(names)]
    if options.time and options.prompt_tokens and options.output_tokens:
        return _custom(path, container, options)
    if fitting:
        return max(fitting, key=lambda form: len(form.needed + form.marks))
    lengths = [form for form in forms if {form.prompt, form.output, *form.marks} <= set(names)]
    if lengths and not options.time:
        return replace(max(lengths, key=lambda form: len(form.marks)), time="")
    raise _unknown(path, names)


def named_form(path: Path, name: str, options: ReadOptions) -> TraceFormat:
    """Give a format by name; with no time if the file has only its lengths."""
    form = next(form for form in FORMS if form.name == name).adapted(options)
    found = _names(path)
    if found is None or found[0] != form.container or form.time in found[1] or options.time:
        return form
    has_lengths = {form.prompt, form.output} <= set(found[1])
    return replace(form, time="") if has_lengths else form


def _custom(path: Path, container: str, options: ReadOptions) -> TraceFormat:
    if options.time_unit is None:
        raise TraceError(
            f"{path}: user-defined columns need time_unit: s, ms, us, ns or wall (a date with time "
            "of day)"
        )
    if options.hash_ids and not options.hash_block_tokens:
        raise TraceError(
            f"{path}: column {options.hash_ids!r} needs hash_block_tokens: the tokens that one id "
            "stands for"
        )
    return TraceFormat(
        name=CUSTOM,
        container="csv" if container == "csv" else "jsonl",
        time=options.time,
        time_unit=options.time_unit,
        prompt=options.prompt_tokens,
        output=options.output_tokens,
        hash_ids=options.hash_ids,
        hash_block_tokens=options.hash_block_tokens,
        session=options.session,
        delay=options.delay,
    )


def _unknown(path: Path, names: list[str]) -> TraceError:
    nearest = max(FORMS, key=lambda form: _likeness(form, names))
    return TraceError(
        f"{path}:1: cannot detect the format from {', '.join(map(repr, names)) or 'nothing'}; the "
        f"nearest is {nearest.name}, which has {', '.join(map(repr, nearest.needed))} (known: "
        f"{', '.join(FORMATS[1:])}; or name its columns with workload.columns)"
    )


def _names(path: Path) -> tuple[str, list[str]] | None:
    """Give the container and the column names of a text file, None for Parquet."""
    with open_trace(path) as file:
        start = file.read(256)
    if start.startswith(_MAGIC):
        return None
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        from workloads.readers.jsonl import first_object

        return "jsonl", list(first_object(path))
    from workloads.readers.csvfile import head

    return "csv", head(path)[0]


def _likeness(form: TraceFormat, names: list[str]) -> float:
    return math.fsum(
        max((difflib.SequenceMatcher(None, needed, name).ratio() for name in names), default=0.0)
        for needed in form.needed
    )
