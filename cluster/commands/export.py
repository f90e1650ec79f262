"""``corsair-sim export``: a run for other tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import terminal

app = typer.Typer(help="A run as vLLM bench JSON or CSV.", no_args_is_help=True)


class Format(StrEnum):
    """Export formats."""

    VLLM = "vllm"
    CSV = "csv"


@app.command(no_args_is_help=True)
def export(
    run: Annotated[
        str, typer.Argument(help="Folder of the run, or its id (looked up in results/runs).")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write; replaced if it exists.")],
    form: Annotated[Format, typer.Option("--format", help="Format to write.")] = Format.VLLM,
    table: Annotated[str, typer.Option("--table", help="Table to write, CSV only.")] = "requests",
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write a run as vLLM's bench-serve JSON (with every request) or as CSV."""
    from results import open_run
    from results.export import export as write

    opened = open_run(run)
    rows = write(opened, out, form=form.value, table=table)
    terminal.show(
        {"run_id": opened.run_id, "format": form.value, "out": str(out), "rows": rows},
        f"{rows:,} rows of run {opened.run_id} written to {out}",
        as_json=as_json,
        quiet=quiet,
    )
