"""``corsair-sim report``: runs as one self-contained HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import terminal

app = typer.Typer()


@app.command(no_args_is_help=True)
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, side by side: folders, or ids in results/runs; or one sweep; or one file "
            "that plan or sensitivity printed with --json."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write; replaced if it exists.")
    ] = Path("report.html"),
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write one HTML file, usable offline: bottleneck, numbers, figures, assumptions."""
    from results import open_run
    from results.report import findings, write_report
    from results.report.answers import find_answer, write_answer
    from results.report.sweeps import find_sweep, verdict, write_sweep_report

    answer = find_answer(runs)
    if answer is not None:
        size = write_answer(answer, out).stat().st_size
        printed: dict[str, object] = {"out": str(out), "bytes": size, "verdict": answer.headline}
        written = f"{answer.headline}\nwrote {out} ({size / 1e6:.1f} MB)"
        terminal.show(printed, written, as_json=as_json, quiet=quiet)
        return
    sweep = find_sweep(runs)
    if sweep is not None:
        write_sweep_report(sweep, out)
        said = verdict(sweep)
        size = out.stat().st_size
        printed = {"out": str(out), "bytes": size, "verdict": said}
        written = f"{said}\nwrote {out} ({size / 1e6:.1f} MB)"
        terminal.show(printed, written, as_json=as_json, quiet=quiet)
        return
    opened = [open_run(name) for name in runs]
    write_report(opened, out)
    found = {run.run_id: findings(run) for run in opened}
    lines = [
        f"{run_id}: {limits[0].headline if limits else 'no work was done'}"
        for run_id, limits in found.items()
    ]
    size_bytes = out.stat().st_size
    text = "\n".join([*lines, f"wrote {out} ({size_bytes / 1e6:.1f} MB)"])
    limits = {run_id: [one.what for one in each] for run_id, each in found.items()}
    payload = {"out": str(out), "bytes": size_bytes, "limits": limits}
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
