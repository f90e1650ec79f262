"""``corsair-sim plan``: the best parallelism plan of a model on a cluster, without simulation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cluster.commands import plan_options as options
from cluster.commands import terminal
from cluster.commands.plan_table import bound_share, candidates_of, ranking_text, shape

if TYPE_CHECKING:
    from cluster.scenario.schema import Scenario
    from cluster.studies.plan.study import Plans

app = typer.Typer()


@app.command()
def plan(  # noqa: PLR0913 - each is an option
    scenario: terminal.ScenarioFile = None,
    sets: terminal.Sets = None,
    slo: options.Slo = None,
    objective: options.BestAt = options.Objective.tokens_per_s,
    load: options.Load = "auto",
    top: options.Top = 10,
    finalists: options.Finalists = 0,
    tp: options.TensorGroups = None,
    pp: options.Stages = None,
    ep: options.ExpertGroups = None,
    replicas: options.Replicas = None,
    seqs: options.Seats = None,
    tokens: options.Budgets = None,
    modes: options.Modes = None,
    weights: options.Weights = None,
    kv: options.Kv = None,
    out: options.Out = None,
    write: options.Write = None,
    page: options.Page = None,
    smallest: options.Smallest = False,
    fastest: options.Fastest = False,
    attainment: options.Attainment = None,
    trace: options.Trace = None,
    explained: options.Explained = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Rank every legal plan, memory mode, format and batch for a model on a cluster."""
    from cluster import load as load_scenario
    from cluster.api.progress import Progress
    from cluster.studies.plan.ranking import slo_of
    from cluster.studies.plan.study import plan as study

    requested = load_scenario(scenario, sets=[*(sets or ()), *options.sets_of_trace(trace)])
    bounds = slo_of(slo) if slo else None
    shown = {"explained": explained, "as_json": as_json, "quiet": quiet}
    if smallest or fastest:
        _capacity(requested, (smallest, fastest), (bounds, attainment), shown)
        return
    names = (tp, pp, ep, replicas, seqs, tokens, modes, weights, kv)
    with Progress("shapes", shown=not (quiet or as_json)) as progress:
        found = study(
            requested,
            slo=bounds,
            load_at=options.load_of(load),
            objective=objective.value,
            choices=options.choices_of(dict(zip(options.CHOICES, names, strict=True))),
            finalists=finalists,
            progress=progress,
        )
    _tell(found, candidates_of(found, objective.value, top), (out, write, page), shown)


def _capacity(
    requested: "Scenario",
    questions: tuple[bool, bool],
    wanted: tuple[Mapping[str, float] | None, float | None],
    shown: Mapping[str, bool],
) -> None:
    """Run --min-cards or --max-rate; ``wanted`` are the bounds and the attainment."""
    from cluster.commands.capacity import answer

    if all(questions):
        raise typer.BadParameter("--min-cards and --max-rate exclude each other")
    answer(requested, ("min-cards" if questions[0] else "max-rate", *wanted), **shown)


def _tell(
    found: "Plans",
    best: Sequence[Mapping[str, Any]],
    files: tuple[Path | None, Path | None, Path | None],
    shown: Mapping[str, bool],
) -> None:
    """Write all candidates, the best and the page if requested, and print the result."""
    out, write, page = files
    if out is not None:
        found.save(out)
    if write is not None:
        _write(found, best, write)
    payload, text = _payload(found, best), plan_text(found, best, out, write)
    if shown["explained"]:
        text += "\n" + _explain(found, best, payload)
    if page is not None:
        from results.report.answers import answer_of, write_answer

        text += f"\nwrote {write_answer(answer_of(payload), page)}"
    terminal.show(payload, text, as_json=shown["as_json"], quiet=shown["quiet"])


def _explain(found: "Plans", best: Sequence[Mapping[str, Any]], payload: dict[str, Any]) -> str:
    """Add the memory map of the best to the payload, and print it."""
    from cluster.scenario.resolve import resolve
    from cluster.studies.explain import explain, explain_text

    payload["explain"] = explain(resolve(found.scenario(best[0]))) if best else None
    if not best:
        return ""
    return f"\nMemory of the best, {shape(best[0])}:\n\n{explain_text(payload['explain'])}"


def _write(found: "Plans", best: Sequence[Mapping[str, Any]], path: Path) -> None:
    from cluster.scenario.load import ScenarioError
    from cluster.studies.plan.candidate_scenario import write_scenario

    if not best:
        raise ScenarioError(f"--write {path}: no candidate meets the SLO")
    write_scenario(found.scenario(best[0]), path)


def _payload(found: "Plans", best: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scored = found.scored
    return {
        "kind": "plan",
        "name": found.resolved.scenario.name,
        "model": found.resolved.model.name,
        "cards": scored.cards,
        "slo": dict(found.slo),
        "scored": len(scored.shape),
        "pricing_s": scored.pricing_s,
        "scoring_s": scored.scoring_s,
        "infeasible": found.infeasible,
        "candidates": list(best),
        "bound_share": bound_share(found, best[0]) if best else {},
        "pareto": [found.candidate(int(row)) for row in found.columns["pareto"].nonzero()[0]],
        "simulated": [
            {
                "candidate": dict(each.candidate),
                "summary": dict(each.summary),
                "as_counted": each.simulated,
                "errors": each.errors,
            }
            for each in found.verified
        ],
    }


def plan_text(
    found: "Plans", best: Sequence[Mapping[str, Any]], out: Path | None, write: Path | None
) -> str:
    """Say what was scored, what is best, what was simulated, and what cannot be had."""
    scored = found.scored
    limits = ", ".join(f"{name} {value:g}" for name, value in found.slo.items() if value)
    parts = [
        f"{found.resolved.model.name} on {scored.cards} cards: "
        f"{len(scored.shape):,} candidates scored ({scored.scoring_s:.2f} s, and "
        f"{scored.pricing_s:.1f} s of pricing), SLO on the means: {limits or 'none'}",
        "",
        ranking_text(best) if best else "no candidate meets the SLO",
        "",
        f"* nothing has more tokens/s/user and tokens/s/card "
        f"({int(found.columns['pareto'].sum()):,} such candidates in all)",
        *([*_verified(found)] if found.verified else []),
        "",
        "infeasible: "
        + (", ".join(f"{times:,} {why}" for why, times in found.infeasible.items()) or "none"),
        *([f"wrote {out}"] if out else []),
        *([f"wrote {write}; next: corsair-sim serve {write}"] if write else []),
    ]
    return "\n".join(parts)


def _verified(found: "Plans") -> list[str]:
    """Analytic beside simulated, and what only the simulation knows."""
    headers = (
        *("", "TTFT ms", "simulated", "error", "TPOT ms", "simulated", "error"),
        *("tokens/s", "simulated", "J/token", "simulated", "p99 TTFT", "p99 TPOT", "in SLO %"),
    )
    rows = []
    for place, each in enumerate(found.verified, 1):
        errors, summary, candidate = each.errors, each.summary, each.candidate
        simulated = each.simulated
        attained = summary["slo_attainment"]
        rows.append(
            [
                str(place),
                candidate["ttft_ms"],
                simulated["ttft_ms"],
                _percent(errors["ttft_ms"]),
                candidate["tpot_ms"],
                simulated["tpot_ms"],
                _percent(errors["tpot_ms"]),
                candidate["output_throughput"],
                simulated["output_throughput"],
                candidate["joules_per_output_token"],
                simulated["joules_per_output_token"],
                summary["p99_ttft_ms"],
                summary["p99_tpot_ms"],
                None if attained is None else 100 * attained,
            ]
        )
    return ["", "Simulated on the scenario's requests:", terminal.table(headers, rows)]


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:+.1f} %"
