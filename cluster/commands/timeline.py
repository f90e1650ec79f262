"""``corsair-sim timeline``: a run for Perfetto and chrome://tracing."""

import math
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import terminal

app = typer.Typer(help="A run as a Chrome/Perfetto trace.", no_args_is_help=True)


@app.command(no_args_is_help=True)
def timeline(
    run: Annotated[
        str, typer.Argument(help="Folder of the run, or its id (looked up in results/runs).")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="File to write (.gz: packed); replaced if it exists.")
    ],
    from_s: Annotated[float, typer.Option("--from", help="Start of the part, seconds.")] = 0.0,
    until_s: Annotated[
        float | None, typer.Option("--until", help="End of the part, seconds.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most events.")] = 1_000_000,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write operations and link loads, or steps and requests, for https://ui.perfetto.dev."""
    from results import open_run
    from results.timeline import Window, write_timeline

    opened = open_run(run)
    window = Window(from_s=from_s, until_s=math.inf if until_s is None else until_s)
    events = write_timeline(opened, out, window=window, limit=limit)
    terminal.show(
        {"run_id": opened.run_id, "out": str(out), "events": events},
        f"{events:,} events of run {opened.run_id} written to {out}; open it in "
        "https://ui.perfetto.dev",
        as_json=as_json,
        quiet=quiet,
    )
