"""``corsair-sim sensitivity``: the range of a result, what it hangs on, the better plan."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.commands import terminal
from cluster.commands.engine_options import Engine, EngineOfPoints, RayAddress, engine_of_points

app = typer.Typer()


@app.command()
def sensitivity(  # noqa: PLR0913 - each is an option
    scenario: terminal.ScenarioFile = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="Another scenario: in how many of the same draws is the first one better?",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="With --against: the metric that decides after the SLO "
            "[cost_per_million_output_tokens_usd].",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Joint draws.", show_default=True)] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.", show_default=True)] = 0,
    figures: Annotated[
        list[str] | None, typer.Option(help="Figures to vary, * allowed; may be repeated.")
    ] = None,
    machines: Annotated[
        Path | None,
        typer.Option(
            help="Draw from the possible machines that `calibrate --machines FILE` wrote.",
            show_default=False,
        ),
    ] = None,
    sets: terminal.Sets = None,
    draw: Annotated[
        Path | None,
        typer.Option(help="Write the tornado of the first metric as SVG, PNG or HTML."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--report", help="Write the result as one HTML page.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the points [results/sweeps/<name>].", show_default=False),
    ] = None,
    engine: EngineOfPoints = Engine.local,
    ray_address: RayAddress = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete computed points of another study in the folder.")
    ] = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Vary what is uncertain about the hardware, one figure at a time and all together."""
    where = engine_of_points(engine, ray_address)
    if by is not None and against is None:
        raise typer.BadParameter("--by needs --against")
    if draw is not None and against is not None:
        raise typer.BadParameter("--draw is for one scenario: --against varies no figure alone")
    from cluster import load
    from cluster.commands import sensitivity_text as texts
    from cluster.commands.sweep_progress import SweepProgress
    from cluster.scenario.trust import what_if_notes
    from cluster.studies import decision
    from cluster.studies import sensitivity as study
    from cluster.studies.machine_set import read_machines

    first = load(scenario, sets=sets or ())
    second = load(against, sets=sets or ()) if against is not None else None
    for note in what_if_notes(*(each for each in (first, second) if each is not None)):
        terminal.note(note)
    names = tuple(figures or ("*",))
    known = None if machines is None else read_machines(machines)
    with SweepProgress(shown=not (as_json or quiet), notes=not quiet) as progress:
        draws = {"samples": samples, "seed": seed, "figures": names, "machines": known}
        common: dict[str, Any] = {**draws, "out": out, "drop": drop, **where}
        if second is None:
            found = study.sensitivity(first, observer=progress, **common)
            payload, text = texts.payload_of(found), texts.text_of(found)
        else:
            decided = decision.decide(
                first, second, by=by or decision.COST, observer=progress, **common
            )
            payload, text = texts.decision_payload(decided), texts.decision_text(decided)
    if draw is not None:
        texts.draw(found, draw)
    if page is not None:
        from results.report.answers import answer_of, write_answer

        text += f"\n\nwrote {write_answer(answer_of(payload), page)}"
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
