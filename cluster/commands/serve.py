"""``corsair-sim serve``: replay a request trace, print what happened, leave a run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from cluster.commands import terminal

app = typer.Typer()


class Engine(StrEnum):
    """Who carries a run out."""

    local = "local"
    ray = "ray"


@app.command()
def serve(  # noqa: PLR0913 - each is an option
    scenario: terminal.ScenarioFile = None,
    sets: terminal.Sets = None,
    out: Annotated[
        Path, typer.Option("--out", help="Where runs land, each in a folder of its run_id.")
    ] = Path("results/runs"),
    engine: Annotated[
        Engine, typer.Option("--engine", help="Where it runs; the results are the same.")
    ] = Engine.local,
    cards_per_actor: Annotated[
        str, typer.Option(help="Cards that one Ray actor hosts.", metavar="auto|N")
    ] = "auto",
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Join this Ray (auto: the one running here) instead of starting one.",
            metavar="auto|HOST:PORT",
        ),
    ] = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Replay a request trace on simulated cards and write a run."""
    if engine is Engine.local and (ray_address is not None or cards_per_actor != "auto"):
        raise typer.BadParameter("--ray-address and --cards-per-actor need --engine ray")
    from cluster import load, simulate
    from cluster.commands import sparks
    from cluster.commands.progress import Bar
    from cluster.commands.summary import machine_lines, pictures, report

    asked = load(scenario, sets=sets or ())
    with Bar(shown=not (quiet or as_json)) as bar:
        run = simulate(
            asked,
            observer=bar,
            out=out,
            engine=engine.value,
            cards_per_actor=_number(cards_per_actor),
            ray_address=ray_address,
            notice=_silent if quiet else terminal.note,
        )
    payload = {**run.summary, "run_id": run.run_id, "run_dir": str(run.run_dir)}
    machine = machine_lines(run.resolved, len(run.machine.routes.card_id))
    text = report(f"{asked.name} (run {run.run_id})", machine, run.summary, f"wrote {run.run_dir}")
    if sparks.shown():
        text = f"{text}\n\n{pictures(run.requests)}"
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
    for flag in run.summary["flags"]:
        terminal.note(f"note: {flag}")


def _number(cards_per_actor: str) -> int | Literal["auto"]:
    if cards_per_actor == "auto":
        return "auto"
    if not cards_per_actor.isdecimal() or int(cards_per_actor) < 1:
        raise typer.BadParameter(
            f"--cards-per-actor is auto or a number of at least 1, got {cards_per_actor!r}"
        )
    return int(cards_per_actor)


def _silent(text: str) -> None:
    """Tell nobody."""
    del text
