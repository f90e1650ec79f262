"""``corsair-sim serve``: replay a request trace, print a summary, write a run."""

import typer

from cluster.commands import engine_options, terminal
from results.default_dirs import RUNS

app = typer.Typer()


@app.command()
def serve(  # noqa: PLR0913 - each is an option
    scenario: terminal.ScenarioFile = None,
    sets: terminal.Sets = None,
    out: engine_options.RunsFolder = RUNS,
    engine: engine_options.EngineOption = engine_options.Engine.local,
    cards_per_actor: engine_options.CardsPerActor = "auto",
    ray_address: engine_options.RayAddress = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Replay a request trace on simulated cards and write a run."""
    carried_out = engine_options.checked(engine, cards_per_actor, ray_address)
    from cluster import load, simulate
    from cluster.api.progress import Progress
    from cluster.commands import sparklines
    from cluster.commands.summary import machine_lines, pictures, report
    from cluster.scenario.trust import trust_lines, trust_of
    from cluster.studies.remaining import remaining

    requested = load(scenario, sets=sets or ())
    with Progress(shown=not (quiet or as_json)) as bar:
        run = simulate(
            requested,
            observer=bar,
            out=out,
            notice=engine_options.notice(quiet=quiet),
            **carried_out,
        )
    trust, left = trust_of(run.resolved), remaining(run.resolved, run.summary)
    payload = {
        **run.summary,
        "run_id": run.run_id,
        "run_dir": str(run.run_dir),
        "trust": trust.plain(),
        "plan_reasons": list(run.resolved.plan_reasons),
        **({"remaining": left.plain()} if left else {}),
    }
    machine = machine_lines(run.resolved, len(run.machine.routes.card_id))
    text = report(
        f"{requested.name} (run {run.run_id})", machine, run.summary, f"wrote {run.run_dir}"
    )
    if sparklines.shown():
        text = f"{text}\n\n{pictures(run.requests)}"
    if left:
        text = "\n".join([text, "", *left.lines()])
    means = {name: run.summary[f"mean_{name}_ms"] for name in ("tpot", "ttft")}
    text = "\n".join([text, "", *trust_lines(trust, means)])
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
    for flag in (*run.resolved.plan_reasons, *run.summary["flags"]):
        terminal.note(f"note: {flag}")
