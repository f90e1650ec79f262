"""``corsair-sim sweep``: a scenario in thousands of variants: run, resume, show."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cluster.commands import terminal
from cluster.commands.engine_options import Engine, EngineOfPoints, RayAddress, engine_of_points

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


LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Stop after this many points; resume runs the rest.")
]
SweepFolder = Annotated[Path, typer.Argument(help="A sweep's folder, or its name.")]
SweepFile = Annotated[
    Path | None,
    typer.Argument(
        help="A sweep file.",
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
    engine: EngineOfPoints = Engine.local,
    ray_address: RayAddress = None,
    limit: LimitOption = None,
    drop: DropOption = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Run a sweep file (the default); stored points are kept."""
    from cluster import sweep

    where = engine_of_points(engine, ray_address)
    if file is None:
        raise typer.BadParameter("a sweep file is missing")
    with _watched(as_json=as_json, quiet=quiet) as progress:
        done = sweep(file, out=out, limit=limit, drop=drop, observer=progress, **where)
    _tell(done, as_json=as_json, quiet=quiet)


@app.command()
def resume(
    folder: SweepFolder,
    engine: EngineOfPoints = Engine.local,
    ray_address: RayAddress = None,
    limit: LimitOption = None,
    retry_failed: RetryOption = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Resume a sweep that was stopped or killed."""
    from cluster.studies.sweep import resume as go_on

    where = engine_of_points(engine, ray_address)
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
