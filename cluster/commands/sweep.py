"""``corsair-sim sweep``: a scenario in thousands of variants: run, resume, show."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer
from typer.core import TyperGroup

from cluster.commands import terminal
from cluster.commands.engine_options import Engine, RayAddress
from cluster.scenario.engine_names import EngineName

DEFAULT = "run"


class FirstWord(TyperGroup):
    """``sweep FILE`` is ``sweep run FILE``; a file of a command's name is written ``./status``."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]
        """Put the default command before words that name no other."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


if TYPE_CHECKING:
    from results.sweep import Sweep

app = typer.Typer(cls=FirstWord, no_args_is_help=True)

SHOWN = 10


class End(StrEnum):
    """The better end of a metric."""

    lowest = "lowest"
    highest = "highest"


class Where(TypedDict):
    """The engine, as the Python API's type."""

    engine: EngineName
    ray_address: str | None


EngineOption = Annotated[
    Engine, typer.Option("--engine", help="Where points run; the results are the same.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Stop after this many points; resume runs the rest.")
]
SweepFolder = Annotated[Path, typer.Argument(help="A sweep's folder, or its name.")]
SweepFile = Annotated[
    Path | None,
    typer.Argument(
        help="A sweep file; with --sensitivity a scenario [the bundled example].",
        metavar="SWEEP",
        show_default=False,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="The sweep's folder [results/sweeps/<its name>].", show_default=False),
]
DropOption = Annotated[
    bool, typer.Option("--drop", help="Delete computed points that are no longer in the sweep.")
]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Retry failed points.")]
SensitivityOption = Annotated[
    bool,
    typer.Option(
        "--sensitivity", help="Vary each uncertain hardware figure of a scenario, and all."
    ),
]
SamplesOption = Annotated[
    int, typer.Option(min=0, help="Joint draws of a sensitivity study.", show_default=True)
]
FiguresOption = Annotated[
    list[str] | None,
    typer.Option(help="Figures to vary, * allowed; may be repeated."),
]
DrawOption = Annotated[
    Path | None,
    typer.Option(help="Write the tornado of the first metric as SVG, PNG or HTML."),
]
SortOption = Annotated[
    str | None, typer.Option("--sort", help="Metric to rank points by.", show_default=False)
]
BestOption = Annotated[
    End | None, typer.Option(help="The better end of the metric.", show_default=False)
]
TopOption = Annotated[int, typer.Option("--top", min=1, help="Points to show.")]


@app.command()
def run(  # noqa: PLR0913 - each is an option
    file: SweepFile = None,
    out: OutOption = None,
    engine: EngineOption = Engine.local,
    ray_address: RayAddress = None,
    limit: LimitOption = None,
    drop: DropOption = False,
    assumptions: SensitivityOption = False,
    samples: SamplesOption = 64,
    figures: FiguresOption = None,
    sets: terminal.Sets = None,
    draw: DrawOption = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Run a sweep file (the default); stored points are kept."""
    from cluster import load, sweep

    where = _checked(engine, ray_address)
    if assumptions:
        if limit is not None:
            raise typer.BadParameter("--limit is for a sweep file: a study needs all its points")
        from cluster.commands.sweep_text import print_sensitivity
        from cluster.studies.sensitivity import sensitivity

        scenario, names = load(file, sets=sets or ()), figures or ("*",)
        with _watched(as_json=as_json, quiet=quiet) as progress:
            found = sensitivity(
                scenario,
                samples=samples,
                figures=names,
                out=out,
                drop=drop,
                observer=progress,
                **where,
            )
        print_sensitivity(found, draw=draw, as_json=as_json, quiet=quiet)
        return
    if file is None:
        raise typer.BadParameter("a sweep file is missing")
    if sets or figures or draw:
        raise typer.BadParameter(
            "--set, --figures and --draw need --sensitivity; a sweep file has its own axes"
        )
    with _watched(as_json=as_json, quiet=quiet) as progress:
        done = sweep(file, out=out, limit=limit, drop=drop, observer=progress, **where)
    _tell(done, as_json=as_json, quiet=quiet)


@app.command()
def resume(
    folder: SweepFolder,
    engine: EngineOption = Engine.local,
    ray_address: RayAddress = None,
    limit: LimitOption = None,
    retry_failed: RetryOption = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Resume a sweep that was stopped or killed."""
    from cluster.studies.sweep import resume as go_on

    where = _checked(engine, ray_address)
    with _watched(as_json=as_json, quiet=quiet) as progress:
        done = go_on(folder, limit=limit, retry_failed=retry_failed, observer=progress, **where)
    _tell(done, as_json=as_json, quiet=quiet)


@app.command()
def status(
    folder: SweepFolder, as_json: terminal.Json = False, quiet: terminal.Quiet = False
) -> None:
    """Print the progress of a sweep; it may be running."""
    from results import open_sweep

    _tell(open_sweep(folder), as_json=as_json, quiet=quiet)


@app.command()
def show(
    folder: SweepFolder,
    metric: SortOption = None,
    best: BestOption = None,
    count: TopOption = SHOWN,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Show the best points, and confidence intervals where points were repeated."""
    from cluster.commands.sweep_text import default_metric, intervals_text, ranking_text
    from results import open_sweep

    opened = open_sweep(folder)
    chosen = metric or default_metric(opened.metrics)
    lowest = None if best is None else best is End.lowest
    rows = opened.best(chosen, count, lowest=lowest)
    repeated = int(opened.manifest.get("repeat", 1)) > 1
    intervals = opened.intervals(chosen) if repeated else []
    payload = {"metric": chosen, "points": rows, "intervals": intervals}
    text = ranking_text(opened, chosen, rows)
    if repeated:
        text += "\n\n" + intervals_text(chosen, intervals, count)
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _checked(engine: Engine, ray_address: str | None) -> Where:
    if engine is Engine.local and ray_address is not None:
        raise typer.BadParameter("--ray-address needs --engine ray")
    return Where(engine="ray" if engine is Engine.ray else "local", ray_address=ray_address)


def _watched(*, as_json: bool, quiet: bool) -> Any:
    from cluster.commands.sweep_progress import SweepProgress

    return SweepProgress(shown=not (as_json or quiet), notes=not quiet)


def _tell(sweep: "Sweep", *, as_json: bool, quiet: bool) -> None:
    from cluster.commands.sweep_text import status_text

    payload: dict[str, object] = {
        "name": sweep.name,
        "sweep_dir": str(sweep.path),
        "total": sweep.total,
        **sweep.status_counts,
    }
    terminal.show(payload, status_text(sweep), as_json=as_json, quiet=quiet)
