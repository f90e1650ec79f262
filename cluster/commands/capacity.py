"""``plan --min-cards`` and ``--max-rate``: the plan, its cluster, its cost, and how sure it is."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.scenario.schema import Scenario
    from cluster.studies.capacity import Found
    from cluster.studies.capacity_search import Attempt
    from cluster.studies.plan.objective import Objective, Verdict
    from cluster.studies.plan.space import Choices

SHOWN = ("p99_ttft_ms", "p99_tpot_ms", "slo_attainment", "output_throughput", "request_throughput")
HOURS_A_MONTH = 730.0


def answer(
    scenario: "Scenario",
    requested: tuple[str, Mapping[str, float] | None, float | None],
    search: "tuple[Choices | None, Path | None]",
    *,
    explained: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search, report the progress, and print the result.

    ``requested`` are the question, the bounds and the attainment; ``search`` the choices, without
    which the scenario's plan is kept, and a file for the resulting scenario. ``explained`` adds the
    memory map of the plan on its cluster.
    """
    from cluster.scenario.schema import Slo
    from cluster.studies.plan.candidate_scenario import write_scenario
    from cluster.studies.plan.objective import Objective

    (question, bounds, attainment), (choices, write) = requested, search
    objective = Objective(slo=Slo(**bounds) if bounds else scenario.slo, attainment=attainment)
    found = _searched(scenario, objective, (question, choices), shown=not (as_json or quiet))
    payload = {
        "question": question,
        "answer": plain(found.answer),
        "runner_up": found.runner_up and plain(found.runner_up),
        "beyond": found.beyond and plain(found.beyond),
        "bounds": [{"cards": each.cards, "because": each.because} for each in found.bounds],
        "candidates": found.candidates,
        "left": found.left,
        "tried": [plain(each) for each in found.tried],
        "contradictions": found.contradictions,
    }
    text = _text(scenario, question, found)
    if explained:
        text += "\n\n" + _explain(found, payload)
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
    if write is not None:
        write_scenario(found.answer.of, write)
        if not (as_json or quiet):
            terminal.note(f"wrote {write}; next: corsair-sim serve {write}")
    for line in found.contradictions:
        terminal.note(f"note: not monotone: {line}")


def _searched(
    scenario: "Scenario",
    objective: "Objective",
    search: "tuple[str, Choices | None]",
    *,
    shown: bool,
) -> "Found":
    """Run the search for the question, of the scenario's own plan or of all plans."""
    from cluster.api.progress import Progress
    from cluster.studies.capacity import max_rate, min_cards
    from cluster.studies.capacity_search import fewest_cards
    from cluster.studies.rate_search import highest_rate

    question, choices = search

    with Progress("simulations" if choices is None else "shapes", shown=shown) as bar:

        def said(verdict: "Verdict") -> None:
            done = bar.done + 1 if choices is None else bar.done
            bar.reached(done, bar.total, _line(verdict))

        def sized(attempt: "Attempt") -> None:
            bar.reached(bar.done, bar.total, size_line(attempt))

        if choices is None:
            kept = min_cards if question == "min-cards" else max_rate
            return kept(scenario, objective, said)
        if question == "min-cards":
            return fewest_cards(scenario, objective, choices, sized, bar)
        return highest_rate(scenario, objective, choices, said, bar)


def _explain(found: "Found", payload: dict[str, Any]) -> str:
    """Add the memory map of the resulting scenario to the payload; print it."""
    from cluster.scenario.resolve import resolve
    from cluster.studies.explain import explain, explain_text

    payload["explain"] = explain(resolve(found.answer.of))
    return explain_text(payload["explain"])


def plain(verdict: "Verdict") -> dict[str, Any]:
    """A verdict as JSON: the plan, its cluster, latencies, and power and cost where they are
    known."""
    summary, chosen = verdict.summary, verdict.of
    watts = (summary.get("facility_power_w") or {}).values()
    hour = {
        f"usd_per_hour{end}": summary.get(f"cost_per_hour_usd{end}")
        for end in ("", "_low", "_high")
    }
    return {
        "cards": verdict.cards,
        "cluster": verdict.cluster.model_dump(),
        "plan": chosen.model_dump(mode="json")["plan"],
        "memory_mode": chosen.memory.mode,
        "formats": {use: getattr(chosen.formats, use) for use in ("weights", "activations", "kv")},
        "max_num_seqs": chosen.scheduler.max_num_seqs,
        "max_num_batched_tokens": chosen.scheduler.max_num_batched_tokens,
        "rate_scale": verdict.rate_scale,
        "meets": verdict.meets,
        "given_up": verdict.given_up,
        **{name: summary.get(name) for name in SHOWN},
        "power_kw": math.fsum(watts) / 1e3 if watts and None not in watts else None,
        **hour,
        **{
            name.replace("hour", "month"): each and each * HOURS_A_MONTH
            for name, each in hour.items()
        },
    }


def _line(verdict: "Verdict") -> str:
    """Cards, rate and p99s in a line."""
    summary = verdict.summary
    head = f"{verdict.cards} cards, x{verdict.rate_scale:.4g}"
    if verdict.given_up is not None:
        return f"{head}: fails (given up when {100 * verdict.given_up:.0f} % was served)"
    if not summary:
        return f"{verdict.cards} cards: the plan has no room"
    return (
        f"{head} ({summary['request_throughput']:.2f} requests/s): "
        f"p99 TTFT {summary['p99_ttft_ms']:,.1f} ms, p99 TPOT {summary['p99_tpot_ms'] or 0.0:,.2f} "
        f"ms: {'meets the SLO' if verdict.meets else 'fails'}"
    )


def size_line(attempt: "Attempt") -> str:
    """A size of cluster and what was found on it."""
    from cluster.studies.plan.objective import cards_of

    done, cards = len(attempt.verdicts), cards_of(attempt.cluster)
    if attempt.meets:
        return f"{cards} cards: {shape(attempt.verdicts[-1])} meets the SLO ({done} simulated)"
    beyond = f", {attempt.left:,} behind them were not" if attempt.left else ""
    return f"{cards} cards: no candidate meets the SLO ({done} simulated{beyond})"


def shape(verdict: "Verdict") -> str:
    """``2 x (TP 2 x PP 14), performance, mxint4 weights, mxint8 KV, 64 seqs, budget 128``."""
    chosen = verdict.of
    plan, scheduler = chosen.model_dump(mode="json")["plan"], chosen.scheduler
    experts = plan["expert_parallel_size"]
    return (
        f"{plan['replicas']} x (TP {plan['tensor_parallel_size']} x PP "
        f"{plan['pipeline_parallel_size']}{f', EP {experts}' if experts > 1 else ''}), "
        f"{chosen.memory.mode}, {chosen.formats.weights} weights, {chosen.formats.kv} KV, "
        f"{scheduler.max_num_seqs} seqs, budget {scheduler.max_num_batched_tokens}"
    )


def _text(scenario: "Scenario", question: str, found: "Found") -> str:
    """The answer first, then what it costs, the next best, and what does not do."""
    best = found.answer
    if question == "min-cards":
        head = f"{scenario.name}: {best.cards} cards are the minimum"
        none = "no smaller cluster has room for the model"
    else:
        head = f"{scenario.name}: x{best.rate_scale:.4g} is the highest rate"
        none = ""
    lines = [head, *_plan_lines(best)]
    if found.candidates and not found.runner_up:
        lines += ["no other plan that was simulated on this cluster meets the SLO"]
    if found.runner_up:
        lines += ["runner-up:", *_plan_lines(found.runner_up)]
    beyond = found.beyond
    lines += [f"  {none}"] if beyond is None else ["beyond it:", f"  {_line(beyond)}"]
    if beyond is not None and found.candidates and question == "min-cards":
        left = f"; {found.left:,} candidates behind them were not simulated" if found.left else ""
        lines += [f"  {shape(beyond)}, the nearest of those that were simulated{left}"]
    bound = next(iter(found.bounds), None)
    if bound is not None and bound.cards > 1:
        lines.append(f"no plan of fewer than {bound.cards} cards can hold it: {bound.because}")
    of = f" of {found.candidates:,} candidates" if found.candidates else ""
    return "\n".join([*lines, f"({len(found.tried)} simulations{of})"])


def _plan_lines(verdict: "Verdict") -> list[str]:
    """Plan, latencies, and what its cluster draws and costs."""
    found, size = plain(verdict), verdict.cluster
    lines = [f"  {shape(verdict)}", f"  {_line(verdict)}"]
    if found["usd_per_hour"] is None or found["power_kw"] is None:
        return lines
    count = size.racks * size.servers_per_rack
    servers = f"{count} server{'s' * (count > 1)} in {size.racks} rack{'s' * (size.racks > 1)}"
    amounts = ", ".join(
        f"{found[name]:,.{digits}f} USD {words} ({found[f'{name}_low']:,.{digits}f} to "
        f"{found[f'{name}_high']:,.{digits}f})"
        for name, digits, words in (
            ("usd_per_hour", 2, "an hour"),
            ("usd_per_month", 0, f"a month of {HOURS_A_MONTH:.0f} hours"),
        )
    )
    return [*lines, f"  {servers}, {found['power_kw']:.1f} kW, {amounts}"]
