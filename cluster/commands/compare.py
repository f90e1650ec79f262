"""``corsair-sim compare``: settings and metrics of runs that differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from results.compare import Difference, Metric

app = typer.Typer()

LONGEST = 28
"""Most characters shown of a setting's value."""


@app.command(no_args_is_help=True)
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Two or more runs: folders, or ids in results/runs. The first is the base. Or a "
            "run and measured results: JSON of vllm bench serve."
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="All numbers of the summaries, not only the usual.")
    ] = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Compare runs: settings that differ, then metrics; or a run with measured results."""
    from results import open_run
    from results.compare import differences, metrics

    if len(runs) == 2 and runs[1].endswith(".json"):
        _measured(runs[0], Path(runs[1]), as_json=as_json, quiet=quiet)
        return
    opened = [open_run(name) for name in runs]
    requested, found = differences(opened), metrics(opened, everything=everything)
    ids = [run.run_id for run in opened]
    payload = {
        "runs": ids,
        "settings": {row.key: list(row.values) for row in requested},
        "metrics": {
            row.key: {"unit": row.unit, "values": list(row.values), "changes": list(row.changes)}
            for row in found
        },
    }
    names = [str(run.manifest["scenario"].get("name", "")) for run in opened]
    heads = [f"{name} {run_id}".strip() for name, run_id in zip(names, ids, strict=True)]
    text = "\n\n".join([_heading(heads), _settings(requested, ids), _metrics(found, ids)])
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _measured(name: str, path: Path, *, as_json: bool, quiet: bool) -> None:
    """A run beside the numbers of vllm bench serve."""
    from results import open_run
    from results.bench import read_bench
    from results.measured import beside, other_traffic

    run = open_run(name)
    rows = beside(run, read_bench(path))
    text = terminal.table(
        ("metric", "unit", run.run_id, path.name, "ratio", "90 % band", "inside"),
        [
            [
                row.key,
                row.unit,
                row.simulated,
                row.measured,
                "-" if row.ratio is None else f"{row.ratio:.3f}",
                "-" if row.band is None else f"{row.band[0]:,.4g} to {row.band[1]:,.4g}",
                {None: "-", True: "yes", False: "no"}[row.inside],
            ]
            for row in rows
        ],
    )
    if trust := run.manifest.get("trust"):
        text += f"\n\ntrust: {trust['sentence']}"
    if unlike := other_traffic(rows):
        text += f"\nnot the same traffic: {', '.join(unlike)} differ"
    payload = {
        "run": run.run_id,
        "measured": str(path),
        "metrics": {
            row.key: {
                "unit": row.unit,
                "simulated": row.simulated,
                "measured": row.measured,
                "ratio": row.ratio,
                "band": row.band,
                "inside": row.inside,
            }
            for row in rows
        },
        "other_traffic": unlike,
    }
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _heading(heads: Sequence[str]) -> str:
    base, *others = heads
    return "\n".join([f"base: {base}", *(f"then: {other}" for other in others)])


def _settings(rows: "Sequence[Difference]", ids: Sequence[str]) -> str:
    if not rows:
        return "the settings are equal"
    cells = [[row.key, *(_short(value) for value in row.values)] for row in rows]
    return terminal.table(("settings", *ids), cells)


def _metrics(rows: "Sequence[Metric]", ids: Sequence[str]) -> str:
    headers = ["metric", "unit", ids[0]]
    for run_id in ids[1:]:
        headers += [run_id, "change", ""]
    cells = []
    for row in rows:
        line: list[object] = [row.key, row.unit, row.values[0]]
        for run in range(1, len(ids)):
            line += [row.values[run], _percent(row.changes[run]), row.verdict(run)]
        cells.append(line)
    return terminal.table(headers, cells)


def _percent(change: float | None) -> str:
    if change is None:
        return "-"
    return "=" if change == 0 else f"{100 * change:+,.1f} %"


def _short(value: object) -> str:
    text = "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"...{text[3 - LONGEST :]}"
