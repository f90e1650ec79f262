"""``corsair-sim calibrate``: machines that explain measured rows, and what to measure next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.studies.calibration.measurements import Measurement

app = typer.Typer()


@app.command()
def calibrate(  # noqa: PLR0913 - each is an option
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Measured points: our CSV, or vllm bench JSON with --scenario; may be repeated "
            "[the two published points].",
            show_default=False,
        ),
    ] = None,
    fit: Annotated[str, typer.Option(help="Figures to fit, with commas between; * allowed.")] = "*",
    scenario: Annotated[
        Path | None,
        typer.Option(
            help="Model, plan and formats that vllm bench JSON was measured with.",
            show_default=False,
        ),
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(
            help="Relative standard error of rows that do not say theirs [0.05].",
            min=1e-4,
            max=0.9,
            show_default=False,
        ),
    ] = None,
    model_error: Annotated[
        float,
        typer.Option(
            help="Relative standard error of the model where its figures are right.", min=0, max=0.9
        ),
    ] = 0.05,
    samples: Annotated[
        int, typer.Option(help="Machines that are tried in a round.", min=256, max=4_000_000)
    ] = 65_536,
    seed: Annotated[int, typer.Option(help="Of all random numbers.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the fitted hardware file.", show_default=False),
    ] = None,
    machines: Annotated[
        Path | None,
        typer.Option(
            help="Write the set of machines, for `sensitivity --machines`.", show_default=False
        ),
    ] = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Fit Corsair's figures on measured points; say what the points leave open."""
    from cluster.commands import calibrate_text as texts
    from cluster.studies.calibration.output import write_hardware, write_set
    from cluster.studies.calibration.study import fit as study

    rows, asked = _split(_rows(data, scenario, error), data is not None)
    patterns = [name.strip() for name in fit.split(",") if name.strip()]
    found = study(
        rows,
        figures=patterns,
        asked=asked,
        samples=samples,
        seed=seed,
        model_error=model_error,
    )
    written = []
    if out is not None:
        write_hardware(found, out)
        written.append(f"wrote {out}: use it as hardware: {out}")
    if machines is not None:
        write_set(found, machines)
        written.append(f"wrote {machines}: use it as sensitivity --machines {machines}")
    text = "\n".join([texts.text_of(found), *written])
    terminal.show(texts.payload_of(found), text, as_json=as_json, quiet=quiet)


def _rows(
    data: list[Path] | None, scenario: Path | None, error: float | None
) -> "tuple[Measurement, ...]":
    """Of all files; each whose name ends in .json is one of vllm bench."""
    from dataclasses import replace

    from cluster.studies.calibration.measurements import ERROR, published
    from cluster.studies.calibration.reading import read_rows, read_vllm

    own = ERROR if error is None else error
    if not data:
        return tuple(replace(row, error=own) for row in published())
    found: list[Measurement] = []
    for path in data:
        if path.suffix == ".json":
            if scenario is None:
                raise typer.BadParameter(
                    f"{path} says neither plan nor formats: --scenario FILE names them"
                )
            from cluster import load

            found += (replace(row, error=own) for row in read_vllm(path, load(scenario)))
        else:
            found += read_rows(path, own)
    return tuple(found)


def _split(
    rows: "tuple[Measurement, ...]", own: bool
) -> "tuple[tuple[Measurement, ...], tuple[Measurement, ...] | None]":
    """Rows, and questions: rows of the user's file without a value; None: the usual ones."""
    asked = tuple(row for row in rows if row.value is None)
    return tuple(row for row in rows if row.value is not None), asked if own and asked else None
