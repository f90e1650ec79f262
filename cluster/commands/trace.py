"""``corsair-sim trace``: describe and generate request traces, convert them to our Parquet."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from workloads.readers.trace_format import GivenUnit, LaterPrompts, ReadOptions
    from workloads.requests import Requests
    from workloads.synthetic import Arrivals, Lengths

app = typer.Typer(help="Describe, convert, generate request traces.", no_args_is_help=True)

_SPAN = re.compile(r"(\d+)-(\d+)")
_COLUMNS = ("time", "prompt_tokens", "output_tokens", "hash_ids", "session", "delay")
_LENGTHS = "256 (fixed), 100-900 (uniform) or mean=1155,p50=1020,maximum=8192 (lognormal)"

File = Annotated[Path, typer.Argument(help="A trace in any known format.", show_default=False)]
Format = Annotated[str, typer.Option("--format", help="Name of the format, or auto.")]
Out = Annotated[Path, typer.Option("--out", help="The Parquet file to write.", show_default=False)]
Limit = Annotated[int | None, typer.Option(help="Select this many requests.")]
Start = Annotated[float, typer.Option(help="Begin here in the trace's own time.")]
Duration = Annotated[float | None, typer.Option(help="Select this many seconds from there.")]
RateScale = Annotated[float, typer.Option(help="2 sends the requests at twice the rate.")]

TimeUnit = Annotated[
    str | None, typer.Option(help="Unit of the file's times: s, ms, us, ns, wall (a date).")
]
BlockTokens = Annotated[
    int | None, typer.Option("--hash-block-tokens", help="Prompt tokens that a block id covers.")
]
Columns = Annotated[
    str | None,
    typer.Option(help="The file's own names: time=T,prompt_tokens=P,output_tokens=O,hash_ids=H."),
]
Later = Annotated[
    str, typer.Option("--later-prompts", help="Of sessions, what lengths count: whole or added.")
]


@app.command()
def describe(  # noqa: PLR0913 - each is an option
    file: File,
    format: Format = "auto",
    start_s: Start = 0.0,
    duration_s: Duration = None,
    time_unit: TimeUnit = None,
    hash_block_tokens: BlockTokens = None,
    columns: Columns = None,
    later_prompts: Later = "whole",
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Print a trace's rate, burstiness, lengths and ideal prefix hit rate."""
    from workloads.describe import describe as measured
    from workloads.trace import detect_format, read_trace

    options = _read_options(time_unit, hash_block_tokens, columns, later_prompts)
    requests = read_trace(
        file,
        format,
        start_s=start_s,
        duration_s=duration_s,
        options=options,
        lengths_only=True,
    )
    payload: dict[str, object] = {
        "file": str(file),
        "format": detect_format(file, options) if format == "auto" else format,
        **measured(requests),
        "notes": list(requests.notes),
        "digest": requests.digest,
    }
    _say_notes(requests)
    terminal.show(payload, _sheet(payload), as_json=as_json, quiet=quiet)


@app.command()
def convert(  # noqa: PLR0913 - each is an option
    file: File,
    out: Out,
    format: Format = "auto",
    limit: Limit = None,
    start_s: Start = 0.0,
    duration_s: Duration = None,
    rate_scale: RateScale = 1.0,
    time_unit: TimeUnit = None,
    hash_block_tokens: BlockTokens = None,
    columns: Columns = None,
    later_prompts: Later = "whole",
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write a trace, or a part of it, as Parquet with units in its metadata."""
    from workloads.trace import read_trace

    requests = read_trace(
        file,
        format,
        limit=limit,
        start_s=start_s,
        duration_s=duration_s,
        rate_scale=rate_scale,
        options=_read_options(time_unit, hash_block_tokens, columns, later_prompts),
    )
    _write(requests, out, as_json=as_json, quiet=quiet)


@app.command()
def generate(  # noqa: PLR0913 - each is an option
    out: Out,
    preset: Annotated[str | None, typer.Option(help="Fitted to the trace of that name.")] = None,
    requests: Annotated[int | None, typer.Option(help="Requests; a preset has its own.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second.")] = None,
    burstiness: Annotated[
        float | None, typer.Option(help="Shape of the gamma gaps as in vLLM; 1 is Poisson.")
    ] = None,
    prompt_tokens: Annotated[str | None, typer.Option(help=_LENGTHS)] = None,
    output_tokens: Annotated[str | None, typer.Option(help=_LENGTHS)] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same trace.", min=0)] = 0,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write synthetic traffic: a preset's, or with your own rate and lengths."""
    import numpy as np

    from workloads.presets import generate_preset
    from workloads.synthetic import generate as drawn

    rng = np.random.default_rng(seed)
    own = {
        "--rate": rate,
        "--burstiness": burstiness,
        "--prompt-tokens": prompt_tokens,
        "--output-tokens": output_tokens,
    }
    _check_choice(preset, own)
    if preset is not None:
        made = generate_preset(preset, rng, requests)
    else:
        made = drawn(
            1000 if requests is None else requests,
            _arrivals(rate or 0.0, burstiness),
            _lengths("--prompt-tokens", prompt_tokens or ""),
            _lengths("--output-tokens", output_tokens or ""),
            rng,
        )
    _write(made, out, as_json=as_json, quiet=quiet)


@app.command()
def servegen(  # noqa: PLR0913 - each is an option
    rates: Annotated[Path, typer.Argument(help="Parquet of client rates by window.")],
    lengths: Annotated[Path, typer.Argument(help="Archive of chunk-N-dataset.json files.")],
    out: Out,
    model: Annotated[str, typer.Option(help="Whose clients.")],
    rate: Annotated[float, typer.Option(help="Requests per second of all clients together.")],
    duration_s: Annotated[float, typer.Option(help="604800 is a week.")] = 3600.0,
    seed: Annotated[int, typer.Option(help="Same seed, same trace.", min=0)] = 0,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write traffic of ServeGen's measured clients, scaled to any total rate."""
    from workloads.servegen import generate_servegen

    made = generate_servegen(rates, lengths, model, rate, duration_s, seed)
    _write(made, out, as_json=as_json, quiet=quiet)


def _check_choice(preset: str | None, own: Mapping[str, object]) -> None:
    from workloads.requests import TraceError

    inputs = [name for name, value in own.items() if value is not None]
    if preset is not None and inputs:
        raise TraceError(f"--preset and {inputs[0]} exclude each other: a preset has its own")
    missing = [name for name, value in own.items() if value is None and name != "--burstiness"]
    if preset is None and missing:
        raise TraceError(f"{', '.join(missing)} or --preset is required")


def _arrivals(rate: float, burstiness: float | None) -> "Arrivals":
    from workloads.synthetic import Gamma, Poisson

    if burstiness is None:
        return Poisson(rate_per_s=rate)
    return Gamma(rate_per_s=rate, burstiness=burstiness)


def _lengths(option: str, text: str) -> "Lengths":
    """Read a length distribution as the command line writes it."""
    from workloads.requests import TraceError
    from workloads.synthetic import Fixed, Lognormal, Uniform

    span = _SPAN.fullmatch(text)
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    try:
        if text.isdigit():
            return Fixed(tokens=int(text))
        if span:
            return Uniform(low=int(span[1]), high=int(span[2]))
        if {"mean", "p50"} <= parts.keys() <= {"mean", "p50", "maximum"}:
            most = int(parts["maximum"]) if "maximum" in parts else None
            return Lognormal(mean=float(parts["mean"]), p50=float(parts["p50"]), maximum=most)
    except ValueError as error:
        raise TraceError(f"{option} {text!r}: {error}") from None
    raise TraceError(f"{option}: found {text!r}; allowed are {_LENGTHS}")


def _write(requests: "Requests", out: Path, *, as_json: bool, quiet: bool) -> None:
    from workloads.trace import write_trace

    write_trace(requests, out)
    _say_notes(requests)
    if requests.reordered:
        terminal.note(f"sorted {requests.reordered:,} requests that were out of order")
    payload = {
        "out": str(out),
        "requests": len(requests),
        "skipped": requests.skipped,
        "reordered": requests.reordered,
        "notes": list(requests.notes),
        "digest": requests.digest,
    }
    text = f"wrote {len(requests):,} requests to {out}"
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _say_notes(requests: "Requests") -> None:
    if requests.skipped:
        terminal.note(
            f"left out {requests.skipped:,} failed requests (no prompt or no output tokens)"
        )
    for note in requests.notes:
        terminal.note(note)


def _read_options(
    time_unit: str | None, hash_block_tokens: int | None, columns: str | None, later_prompts: str
) -> "ReadOptions":
    """Check what the command line says of a file; raises TraceError with what is allowed."""
    from workloads.readers.trace_format import GivenUnit, LaterPrompts, ReadOptions
    from workloads.requests import TraceError

    units = get_args(GivenUnit)
    if time_unit is not None and time_unit not in units:
        raise TraceError(f"--time-unit: found {time_unit!r}; allowed are {', '.join(units)}")
    if hash_block_tokens is not None and hash_block_tokens < 1:
        raise TraceError(f"--hash-block-tokens: found {hash_block_tokens}; at least 1 is needed")
    if later_prompts not in get_args(LaterPrompts):
        allowed = " or ".join(get_args(LaterPrompts))
        raise TraceError(f"--later-prompts: found {later_prompts!r}; allowed is {allowed}")
    names = dict(part.partition("=")[::2] for part in columns.split(",")) if columns else {}
    for key, name in names.items():
        if key not in _COLUMNS or not name:
            found = f"{key}={name}" if name else key
            near = difflib.get_close_matches(key, _COLUMNS, n=1)
            hint = f"; is it {near[0]!r}?" if near and near[0] != key else ""
            raise TraceError(
                f"--columns: found {found!r}{hint}; allowed are NAME=COLUMN with "
                f"{', '.join(_COLUMNS)}"
            )
    return ReadOptions(
        time_unit=cast("GivenUnit | None", time_unit),
        hash_block_tokens=hash_block_tokens or 0,
        later_prompts=cast("LaterPrompts", later_prompts),
        **names,
    )


def _sheet(payload: Mapping[str, object]) -> str:
    """Format the description: totals first, then a table of lengths."""
    parts, kinds = ("mean", "p50", "p90", "p99", "max"), ("prompt", "output")
    lengths = [[kind, *(payload[f"{part}_{kind}_tokens"] for part in parts)] for kind in kinds]
    of_lengths = {f"{part}_{kind}_tokens" for part in parts for kind in kinds}
    facts = [
        [name.replace("_", " "), _value(value)]
        for name, value in payload.items()
        if name not in (*of_lengths, "notes") and value is not None
    ]
    width = max(len(str(name)) for name, _ in facts)
    lines = [f"{name:<{width}}  {value}" for name, value in facts]
    table = terminal.table(["tokens", *parts], lengths)
    return "\n".join([*lines, "", table])


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
