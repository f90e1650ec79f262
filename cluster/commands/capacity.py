"""``plan --min-cards`` and ``--max-rate``: the result and its simulations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.scenario.schema import Scenario
    from cluster.studies.capacity import Found, Verdict

SHOWN = ("p99_ttft_ms", "p99_tpot_ms", "slo_attainment", "output_throughput", "request_throughput")


def answer(
    scenario: "Scenario",
    requested: tuple[str, Mapping[str, float] | None, float | None],
    *,
    explained: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search, report each simulation, and print the result.

    ``requested`` are the question, the bounds and the attainment; ``explained`` adds the memory map
    of the scenario's plan on the cluster that was found.
    """
    from cluster.api.progress import Progress
    from cluster.scenario.schema import Slo
    from cluster.studies.capacity import Objective, max_rate, min_cards

    question, bounds, attainment = requested
    slo = Slo(**bounds) if bounds else scenario.slo
    search = min_cards if question == "min-cards" else max_rate

    with Progress("simulations", shown=not (as_json or quiet)) as bar:

        def said(verdict: "Verdict") -> None:
            bar.reached(bar.done + 1, None, _line(verdict))

        found = search(scenario, Objective(slo=slo, attainment=attainment), said)
    payload = {
        "question": question,
        "answer": _plain(found.answer),
        "beyond": None if found.beyond is None else _plain(found.beyond),
        "tried": [_plain(each) for each in found.tried],
        "contradictions": found.contradictions,
    }
    text = _text(scenario, question, found)
    if explained:
        text += "\n\n" + _explain(scenario, found, payload)
    terminal.show(payload, text, as_json=as_json, quiet=quiet)
    for line in found.contradictions:
        terminal.note(f"note: not monotone: {line}")


def _explain(scenario: "Scenario", found: "Found", payload: dict[str, Any]) -> str:
    """Add the memory map of the scenario on the resulting cluster to the payload; print it."""
    from cluster.scenario.resolve import resolve
    from cluster.studies.explain import explain, explain_text

    laid = scenario.model_copy(update={"cluster": found.answer.cluster})
    payload["explain"] = explain(resolve(laid))
    return explain_text(payload["explain"])


def _plain(verdict: "Verdict") -> dict[str, Any]:
    return {
        "cards": verdict.cards,
        "cluster": verdict.cluster.model_dump(),
        "rate_scale": verdict.rate_scale,
        "meets": verdict.meets,
        **{name: verdict.summary.get(name) for name in SHOWN},
    }


def _line(verdict: "Verdict") -> str:
    found = _plain(verdict)
    if not verdict.summary:
        return f"{verdict.cards} cards: the plan has no room"
    return (
        f"{verdict.cards} cards, x{verdict.rate_scale:.4g} "
        f"({found['request_throughput']:.2f} requests/s): "
        f"p99 TTFT {found['p99_ttft_ms']:,.1f} ms, p99 TPOT {found['p99_tpot_ms']:,.2f} ms: "
        + ("meets the SLO" if verdict.meets else "fails")
    )


def _text(scenario: "Scenario", question: str, found: "Found") -> str:
    if question == "min-cards":
        head = f"{scenario.name}: {found.answer.cards} cards are the minimum"
        none = "no smaller cluster has room for the plan"
    else:
        head = f"{scenario.name}: x{found.answer.rate_scale:.4g} is the highest rate"
        none = ""
    beyond = none if found.beyond is None else _line(found.beyond)
    return f"{head}\n  {_line(found.answer)}\n  {beyond}\n({len(found.tried)} simulations)"
