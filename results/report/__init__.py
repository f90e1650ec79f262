"""Reports: one HTML file for one or more runs, usable offline, with the bottleneck first."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from results.api import Run
from results.compare import Metric, differences, metrics
from results.errors import ResultsError, replacing
from results.figures import FIGURES
from results.figures.series import codes
from results.report.assumptions import assumed_figures, provenance, warnings, whole_of
from results.report.html import Quantity, bullets, figure, page, table
from results.report.turns import turns_table
from results.report.verdict import Finding, findings, latency_words

__all__ = ["Finding", "findings", "report_html", "write_report"]


HOW_TO_LOOK = "Hover for values; hold shift and turn the wheel to zoom, or drag to move."


def write_report(runs: Sequence[Run], path: str | Path) -> Path:
    """Write the report of the runs, atomically.

    Raises
    ------
    ResultsError
        There is no run, or the file cannot be written.
    """
    target = Path(path)
    content = report_html(runs).encode()
    with replacing(target) as file:
        file.write(content)
    return target


def report_html(runs: Sequence[Run]) -> str:
    """The page: verdicts, metrics, figures, assumptions, and the command to reproduce it."""
    if not runs:
        raise ResultsError("a report needs at least one run")
    title = " and ".join(dict.fromkeys(_name(run) for run in runs))
    parts = [f"<h1>{escape(title)}</h1>"]
    if len(runs) > 1:
        parts += _side_by_side(runs)
    for run in runs:
        parts += _of_one(run, alone=len(runs) == 1)
    return page(title, parts, plots=True)


def _name(run: Run) -> str:
    return str(run.manifest["scenario"].get("name") or run.run_id)


def _side_by_side(runs: Sequence[Run]) -> Iterator[str]:
    ids = [run.run_id for run in runs]
    links = "".join(
        f'<a href="#run-{run.run_id}">{escape(_name(run))} {run.run_id}</a>' for run in runs
    )
    yield f"<nav>{links}</nav>"
    differing = differences(runs)
    yield "<h2>Settings that differ</h2>"
    rows = [[row.key, *(_word(value) for value in row.values)] for row in differing]
    yield table(["setting", *ids], rows) if differing else "<p>Nothing.</p>"
    yield "<h2>Metrics</h2>"
    headers = ["metric", *ids[:1]]
    for run_id in ids[1:]:
        headers += [run_id, "change, %", "verdict"]
    lines = []
    found = metrics(runs)
    by_key = {metric.key: metric for metric in found}
    for key, unit, values in _shown(found):
        line: list[object] = [key, values[0]]
        for at in range(1, len(runs)):
            change = by_key[key].changes[at]
            line += [values[at], None if change is None else 100 * change]
            line.append(by_key[key].verdict(at))
        lines.append([*line, unit])
    yield table([*headers, "unit"], lines)


def _of_one(run: Run, *, alone: bool) -> Iterator[str]:
    head = "" if alone else f"<h2>{escape(_name(run))}</h2>"
    yield f'<section id="run-{run.run_id}">{head}<p class="soft">{escape(_machine(run))}</p>'
    yield _verdict(findings(run))
    yield _latency(run)
    said = warnings(run)
    if trust := run.manifest.get("trust"):
        yield f'<p class="trust"><strong>Trust</strong> {escape(str(trust["sentence"]))}.</p>'
    if said:
        yield f'<div class="warnings"><strong>Beware</strong>{bullets(said)}</div>'
    if alone:
        yield "<h2>In numbers</h2>"
        yield _numbers(run)
    if run.summary.get("sessions"):
        yield "<h2>Turns</h2>"
        yield turns_table(run.requests)
    yield "<h2>Figures</h2>"
    yield f'<p class="soft small">{HOW_TO_LOOK}</p>'
    yield from _figures(run)
    yield "<h2>Assumptions</h2>"
    yield _rests_on(run)
    yield "<h2>Reproduce</h2>"
    yield _again(run)
    yield "</section>"


def _machine(run: Run) -> str:
    scenario = run.manifest["scenario"]
    finished = run.manifest["finished_utc"][:16].replace("T", " ")
    if scenario.get("model"):
        plan = scenario.get("plan")
        plan = plan if isinstance(plan, Mapping) else {}  # auto: of pools, which have their own
        what = (
            f"{Path(str(scenario['model'])).name} on {_cards(scenario)} cards, tensor parallel "
            f"{plan.get('tensor_parallel_size', 1)}, pipeline parallel "
            f"{plan.get('pipeline_parallel_size', 1)}, {_replicas(run)}"
        )
    else:
        network = scenario.get("network")
        place = Path(str(network)).name if network else f"{_cards(scenario)} cards"
        what = f"operations of {run.summary.get('ranks')} ranks on {place}"
    return f"{what}; run {run.run_id}, {finished} UTC"


def _cards(scenario: Mapping[str, Any]) -> int:
    size = scenario.get("cluster") or {}
    servers = int(size.get("racks", 1)) * int(size.get("servers_per_rack", 1))
    return servers * int(size.get("cards_per_server", 8))


def _replicas(run: Run) -> str:
    """The number of replicas, from the table of cards."""
    table_name = next((name for name in ("cards", "card_times") if name in run.tables), None)
    most = codes(run, table_name, "replica").max(initial=-1) if table_name else -1
    return "no replica" if most < 0 else "1 replica" if most == 0 else f"{most + 1} replicas"


def _verdict(found: Sequence[Finding]) -> str:
    if not found:
        return '<div class="verdict"><p class="headline">This run did no work.</p></div>'
    first, *others = found
    more = bullets(f"{one.headline} ({one.evidence})" for one in others)
    also = f'<div class="small"><p>Also:</p>{more}</div>' if others else ""
    return (
        f'<div class="verdict" data-limit="{escape(first.what)}">'
        f'<p class="headline">{escape(first.headline)}</p><p>{escape(first.evidence)}.</p>'
        f"<p><strong>What to change:</strong> {escape(first.remedy)}.</p>{also}</div>"
    )


def _latency(run: Run) -> str:
    """What latencies consist of; empty if they are not split."""
    families = (("p99 TTFT", "p99_ttft_share"), ("Mean latency", "latency_share"))
    found = [(name, latency_words(run, family)) for name, family in families]
    lines = [f"<strong>{name}</strong> {escape(words)}." for name, words in found if words]
    return f'<p class="latency">{" ".join(lines)}</p>' if lines else ""


def _numbers(run: Run) -> str:
    rows = [(key, values[0], unit) for key, unit, values in _shown(metrics([run, run]))]
    return table(("metric", "value", "unit"), rows)


def _shown(found: Sequence[Metric]) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Key, unit and values of each metric; shares in %, without those that are 0 everywhere."""
    for metric in found:
        if metric.unit == "s":
            yield metric.key, "", tuple(_quantity(value, "s") for value in metric.values)
        elif metric.unit != "1":
            yield metric.key, metric.unit, metric.values
        elif any(metric.values):
            shares = [100 * value if isinstance(value, float) else value for value in metric.values]
            yield metric.key, "%", tuple(shares)


def _figures(run: Run) -> Iterator[str]:
    """The figures for which the run has data."""
    for name, draw in FIGURES.items():
        try:
            spec: dict[str, Any] = draw(run).to_dict()
        except ResultsError:
            continue
        yield figure(f"{run.run_id}-{name}", spec)


def _rests_on(run: Run) -> str:
    counts = ", ".join(f"{row['figures']} {row['confidence']}" for row in provenance(run))
    rows = [
        [
            *(row["behind"], row["figure"]),
            *(_quantity(row[key], row["unit"]) for key in ("value", "low", "high")),
            row["source"],
        ]
        for row in assumed_figures(run)
    ]
    heads = ("behind", "figure", "value", "low", "high", "source")
    listed = (
        f'<div class="rests">{table(heads, rows)}</div>'
        if rows
        else "<p>No assumed figure affects a main bound of this run.</p>"
    )
    return (
        f"<p>Hardware figures by provenance: {counts}. Assumed figures behind at least 15 % of the "
        f"{whole_of(run)}, with their ranges:</p>{listed}"
    )


def _quantity(value: object, unit: object) -> object:
    return Quantity(value, str(unit or "")) if isinstance(value, int | float) else value


def _again(run: Run) -> str:
    words = list(run.manifest["command"])
    if words and Path(words[0]).name in ("__main__.py", "corsair-sim"):
        words[0] = "corsair-sim"
    command = shlex.join(words) if words else "from Python"
    inputs = [f"{entry['name']} (sha256 {entry['sha256']})" for entry in run.manifest["inputs"]]
    text = _yaml(run.manifest["scenario"])
    files = f"<p>Inputs:</p>{bullets(inputs)}" if inputs else ""
    version = f"corsair-sim {run.manifest['corsair_sim']}, model {run.manifest['model_version']}"
    return (
        f"<p>{escape(version)}:</p><pre>{escape(command)}</pre>{files}"
        f"<details><summary>The scenario, with every default</summary><pre>{escape(text)}</pre>"
        "</details>"
    )


def _yaml(tree: object, depth: int = 0) -> str:
    """The scenario as YAML: mappings in blocks, all else as JSON, which YAML holds too."""
    import json

    if not isinstance(tree, dict) or not tree:
        return json.dumps(tree)
    lines = []
    for key, value in tree.items():
        text = _yaml(value, depth + 1)
        joint = "\n" if isinstance(value, dict) and value else " "
        lines.append(f"{'  ' * depth}{key}:{joint}{text}")
    return "\n".join(lines)


def _word(value: object) -> object:
    return value if value is None or isinstance(value, int | float | str) else str(value)
