"""``corsair-sim replay``: run an operation trace, say what its time went into, leave a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from cluster.commands import engine_options, terminal
from cluster.commands.summary import energy_lines
from corsair_common.units import PS_PER_S
from results.default_dirs import RUNS

app = typer.Typer()

SaveChakra: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Write the operations as a Chakra trace as well."),
]
SaveProgram: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the operations as a program file (Parquet) as well."),
]

MOST_PLACES = 5
"""Number of switches and links in the summary."""


@app.command()
def replay(  # noqa: PLR0913 - each is an option
    scenario: Annotated[Path, typer.Argument(help="A scenario file with an operation trace.")],
    sets: terminal.Sets = None,
    out: engine_options.RunsFolder = RUNS,
    engine: engine_options.EngineOption = engine_options.Engine.local,
    cards_per_actor: engine_options.CardsPerActor = "auto",
    ray_address: engine_options.RayAddress = None,
    save_chakra: SaveChakra = None,
    save_program: SaveProgram = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Replay an operation trace operation by operation and write a run."""
    carried_out = engine_options.checked(engine, cards_per_actor, ray_address)
    from cluster import load, replay_trace
    from cluster.api.progress import Progress

    if save_chakra is not None:
        from workloads.chakra.write import check_target

        check_target(save_chakra)  # before the replay, which may take long
    requested = load(scenario, sets=sets or ())
    with Progress("operations", shown=not (quiet or as_json)) as bar:
        run = replay_trace(
            requested,
            observer=bar,
            out=out,
            notice=engine_options.notice(quiet=quiet),
            **carried_out,
        )
    payload = {
        **run.summary,
        "run_id": run.run_id,
        "run_dir": str(run.run_dir),
        "waits": run.waits,
        "stage_bubble_share": run.stage_bubbles,
        "plan_reasons": list(run.resolved.plan_reasons),
    }
    foot = [f"wrote {run.run_dir}"]
    if save_chakra is not None:
        foot.append(f"wrote {run.save_chakra(save_chakra)}")
    if save_program is not None:
        run.save_program(save_program)
        foot.append(f"wrote {save_program}")
    head = f"{requested.name} (run {run.run_id})"
    text = report(head, run.summary, run.waits, run.stage_bubbles, "\n".join(foot))
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
    for flag in (*run.resolved.plan_reasons, *run.summary["flags"]):
        terminal.note(f"note: {flag}")


def report(
    head: str,
    summary: Mapping[str, Any],
    places: Mapping[str, float],
    bubbles: Sequence[float],
    foot: str,
) -> str:
    """Lay out the summary of a replay."""
    causes = sorted(summary["critical_share"].items(), key=lambda one: -one[1])
    said = [f"{100 * share:.1f} % {name}" for name, share in causes if share >= 0.0005]
    waits = [
        f"  {100 * share:.1f} % of the run waits on {name}"
        for name, share in list(places.items())[:MOST_PLACES]
        if share >= 0.0005
    ]
    return "\n".join(
        [
            head,
            f"{summary['operations']:,} operations of {summary['ranks']:,} ranks in "
            f"{_time(summary['makespan_s'])}",
            _steps(summary),
            "",
            f"critical path: {', '.join(said) or 'nothing'}",
            *waits,
            f"cards compute {_percent(summary['compute_share'])} of the time, communicate "
            f"{_percent(summary['communication_share'])} "
            f"({_percent(summary['overlap_share'] or 0.0)} of that hidden by compute), idle "
            f"{_percent(summary['bubble_share'])}{_bubbles(bubbles)}",
            *energy_lines(summary),
            "",
            foot,
        ]
    )


def _steps(summary: Mapping[str, Any]) -> str:
    if summary["steady_step_s"] is None:
        return "one step"
    return (
        f"{summary['steps']:,} steps, {_time(summary['mean_step_s'])} each, "
        f"{_time(summary['steady_step_s'])} after the first"
    )


def _bubbles(bubbles: Sequence[float]) -> str:
    """The stages with the least and the most bubble."""
    if len(bubbles) < 2:
        return ""
    least, most = (pick(range(len(bubbles)), key=bubbles.__getitem__) for pick in (min, max))
    return f" (stage {least} {_percent(bubbles[least])}, stage {most} {_percent(bubbles[most])})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if seconds >= size:
            return f"{seconds / size:,.3f} {unit}"
    return f"{seconds * PS_PER_S:,.0f} ps"
