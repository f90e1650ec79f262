"""``corsair-sim plan``: the best parallelism plan of a model on a cluster."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cluster.commands import plan_options as options
from cluster.commands import terminal
from cluster.commands.plan_table import bound_share, candidates_of, ranking_text, shape

if TYPE_CHECKING:
    from cluster.scenario.schema import Scenario
    from cluster.studies.plan.space import Choices
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
    finalists: options.Finalists = 10,
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
    keep_plan: options.KeepPlan = False,
    against: options.Against = None,
    samples: options.Samples = None,
    seed: options.Seed = None,
    machines: options.Machines = None,
    attainment: options.Attainment = None,
    trace: options.Trace = None,
    explained: options.Explained = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Score every legal plan of a model on a cluster, and simulate and rank the best."""
    from cluster import load as load_scenario
    from cluster.api.progress import Progress
    from cluster.scenario.trust import what_if_notes
    from cluster.studies.plan.ranking import slo_of
    from cluster.studies.plan.study import plan as study

    requested = load_scenario(scenario, sets=[*(sets or ()), *options.sets_of_trace(trace)])
    bounds = slo_of(slo) if slo else None
    shown = {"explained": explained, "as_json": as_json, "quiet": quiet}
    for note in what_if_notes(requested):
        terminal.note(note)
    names = (tp, pp, ep, replicas, seqs, tokens, modes, weights, kv)
    choices = options.choices_of(dict(zip(options.CHOICES, names, strict=True)))
    draws = options.draws_of(samples, seed, machines)
    if against is not None:
        if fastest or keep_plan or explained or out is not None or page is not None:
            raise typer.BadParameter(
                "--against searches the fewest cards of both: not with --max-rate, --keep-plan, "
                "--explain, --out and --report"
            )
        _against(requested, against, (bounds, attainment), (choices, draws, write), shown)
        return
    if draws:
        raise typer.BadParameter("--samples, --seed and --machines are for --against")
    if smallest or fastest:
        if out is not None:
            raise typer.BadParameter("--out is for a ranking: not with --min-cards and --max-rate")
        searched = None if keep_plan else choices
        _capacity(requested, (smallest, fastest), (bounds, attainment), (searched, write), shown)
        return
    with Progress("shapes", shown=not (quiet or as_json)) as progress:
        found = study(
            requested,
            slo=bounds,
            load_at=options.load_of(load),
            objective=objective.value,
            choices=choices,
            finalists=finalists,
            attainment=attainment,
            progress=progress,
        )
    _tell(found, candidates_of(found, objective.value, top), (out, write, page), shown)


def _capacity(
    requested: "Scenario",
    questions: tuple[bool, bool],
    wanted: tuple[Mapping[str, float] | None, float | None],
    search: "tuple[Choices | None, Path | None]",
    shown: Mapping[str, bool],
) -> None:
    """Run --min-cards or --max-rate; ``wanted`` are the bounds and the attainment, ``search`` the
    choices, without which the plan is kept, and the file to write."""
    from cluster.commands.capacity import answer

    if all(questions):
        raise typer.BadParameter("--min-cards and --max-rate exclude each other")
    question = "min-cards" if questions[0] else "max-rate"
    answer(requested, (question, *wanted), search, **shown)


def _against(
    requested: "Scenario",
    hardware: str,
    wanted: tuple[Mapping[str, float] | None, float | None],
    search: "tuple[Choices, Mapping[str, Any], Path | None]",
    shown: Mapping[str, bool],
) -> None:
    """Run --against; ``wanted`` are the bounds and the attainment, ``search`` the choices, the
    draws, and the file to write."""
    from cluster.commands.against import answer_against
    from cluster.scenario.schema import Slo
    from cluster.studies.plan.objective import Objective

    (bounds, attainment), (choices, draws, write) = wanted, search
    objective = Objective(slo=Slo(**bounds) if bounds else requested.slo, attainment=attainment)
    how = {name: shown[name] for name in ("as_json", "quiet")}
    answer_against(requested, hardware, (objective, choices, draws), write, **how)


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
    payload, text = _payload(found, best), plan_text(found, best, out)
    if shown["explained"]:
        text += "\n" + _explain(found, best, payload)
    if page is not None:
        from results.report.answers import answer_of, write_answer

        text += f"\nwrote {write_answer(answer_of(payload), page)}"
    terminal.show(payload, text, as_json=shown["as_json"], quiet=shown["quiet"])
    if write is not None:
        how = _write(found, write)
        if not (shown["as_json"] or shown["quiet"]):
            terminal.note(f"wrote {write}: {how}; next: corsair-sim serve {write}")


def _explain(found: "Plans", best: Sequence[Mapping[str, Any]], payload: dict[str, Any]) -> str:
    """Add the memory map of the best to the payload, and print it."""
    from cluster.scenario.resolve import resolve
    from cluster.studies.explain import explain, explain_text

    payload["explain"] = explain(resolve(found.scenario(best[0]))) if best else None
    if not best:
        return ""
    return f"\nMemory of the best, {shape(best[0])}:\n\n{explain_text(payload['explain'])}"


def _write(found: "Plans", path: Path) -> str:
    """Write the best plan that meets the SLO on the scenario's own traffic; say which it is."""
    from cluster.studies.plan.candidate_scenario import write_scenario

    try:
        best = found.best_scenario()
    except ValueError as error:
        raise type(error)(f"--write {path}: {error}") from None
    write_scenario(best, path)
    how = "scored, not simulated"
    if found.sample is not None:
        how = "simulated at the scenario's own rate" + (
            ", within the SLO" if any(found.slo.values()) else ""
        )
    return f"{shape(best.model_dump()['plan'])}, {how}"


def _payload(found: "Plans", best: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from cluster.studies.plan.ranking import plain

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
        "sample": found.sample
        and {
            "requests": found.sample.requests,
            "of": found.sample.of,
            "rank_error": found.sample.rank_error,
        },
        "given_up": found.given_up,
        "simulated": [
            {
                "meets_slo": each.meets,
                "excess": plain(each.excess),
                "candidate": dict(each.candidate),
                "summary": dict(each.summary),
                "as_counted": each.simulated,
                "errors": each.errors,
            }
            for each in found.verified
        ],
    }


def plan_text(found: "Plans", best: Sequence[Mapping[str, Any]], out: Path | None) -> str:
    """Say what was scored and simulated, what is best, and what cannot be had."""
    scored = found.scored
    limits = ", ".join(f"{name} {value:g}" for name, value in found.slo.items() if value)
    parts = [
        f"{found.resolved.model.name} on {scored.cards} cards: "
        f"{len(scored.shape):,} candidates scored ({scored.scoring_s:.2f} s, and "
        f"{scored.pricing_s:.1f} s of pricing), SLO {limits or 'none'}",
        *_simulated(found),
        "",
        ranking_text(best) if best else "no candidate meets the SLO",
        "",
        f"* no score has more tokens/s/user and tokens/s/card "
        f"({int(found.columns['pareto'].sum()):,} such candidates in all)",
        *_optimistic(best),
        "",
        "infeasible: "
        + (", ".join(f"{times:,} {why}" for why, times in found.infeasible.items()) or "none"),
        *([f"wrote {out}"] if out else []),
    ]
    return "\n".join(parts)


def _optimistic(best: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which of the best beat a published point."""
    found = {
        reason: [each["plan"] for each in best if each["beats_published"] == reason]
        for reason in dict.fromkeys(each["beats_published"] for each in best)
        if reason
    }
    return [f"warning: {', '.join(plans)}: {reason}" for reason, plans in found.items()]


def _simulated(found: "Plans") -> list[str]:
    """How far the ranks are simulated, on which requests, and whether the SLO is met."""
    sample, given_up = found.sample, found.given_up
    if sample is None:
        return ["ranks are scores (means); nothing was simulated (--simulate 0)"]
    requests = f"{sample.requests:,} requests"
    if sample.requests < sample.of:
        low, high = (99 + 100 * sign * sample.rank_error for sign in (-1, 1))
        requests = (
            f"the first {requests} of {sample.of:,} (a 99th percentile of so many lies between "
            f"their {low:.2f}th and {high:.2f}th, more widely with bursts)"
        )
    good = sum(each.meets for each in found.verified)
    lines = [
        f"simulated on {requests}, each at the rate of its score: {good} of "
        f"{len(found.verified)} plans within the SLO"
        + (f"; {given_up} more candidates were given up" if given_up else "")
    ]
    if not good and found.verified:
        best = found.verified[0]
        lines.append(
            f"the nearest, {shape(best.candidate)}, misses it by a factor of {best.excess:.3g}"
        )
    return lines
