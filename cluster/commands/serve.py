"""``corsair-sim serve``: replay a request trace, print what happened, leave a run."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import terminal

app = typer.Typer()


@app.command()
def serve(
    scenario: terminal.ScenarioFile = None,
    sets: terminal.Sets = None,
    out: Annotated[
        Path, typer.Option("--out", help="Where runs land, each in a folder of its run_id.")
    ] = Path("results/runs"),
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Replay a request trace on simulated cards and write a run."""
    from cluster import load, simulate
    from cluster.commands.progress import Bar
    from cluster.commands.summary import report

    asked = load(scenario, sets=sets or ())
    with Bar(shown=not (quiet or as_json)) as bar:
        run = simulate(asked, observer=bar, out=out)
    payload = {**run.summary, "run_id": run.run_id, "run_dir": str(run.run_dir)}
    plan, formats = run.resolved.plan, asked.formats
    machine = (
        f"{run.resolved.model.name}, weights {formats.weights}, on "
        f"{len(run.machine.routes.card_id)} cards: {plan.replicas} x "
        f"(TP {plan.tensor_parallel_size} x PP {plan.pipeline_parallel_size})"
    )
    text = report(f"{asked.name} (run {run.run_id})", machine, run.summary, f"wrote {run.run_dir}")
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
    for flag in run.summary["flags"]:
        terminal.note(f"note: {flag}")
