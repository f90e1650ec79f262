"""``plan --against``: the same traffic and SLO on other hardware, and the price that decides."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal
from cluster.commands.capacity import HOURS_A_MONTH, plain, shape

if TYPE_CHECKING:
    from cluster.scenario.schema import Scenario
    from cluster.studies.capacity_search import Attempt
    from cluster.studies.plan.objective import Objective
    from cluster.studies.plan.space import Choices
    from cluster.studies.scored_sizes import Bill
    from cluster.studies.tco_comparison import Side, TcoComparison

Draws = Mapping[str, Any]


def answer_against(
    scenario: "Scenario",
    hardware: str,
    search: "tuple[Objective, Choices, Draws]",
    write: Path | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare, report the progress, print the result, and write the cheaper side's scenario."""
    from cluster.api.progress import Progress
    from cluster.commands.capacity import size_line
    from cluster.studies.plan.candidate_scenario import write_scenario
    from cluster.studies.tco_comparison import compare_tco

    objective, choices, draws = search
    with Progress("shapes and draws", shown=not (as_json or quiet)) as bar:

        def said(name: str, attempt: "Attempt") -> None:
            bar.reached(bar.done, bar.total, f"{name}: {size_line(attempt)}")

        found = compare_tco(
            scenario,
            hardware,
            objective=objective,
            choices=choices,
            said=said,
            progress=bar,
            **draws,
        )
    terminal.show(payload_of(found), text_of(found), as_json=as_json, quiet=quiet)
    if write is not None and (best := found.cheaper.answer) is not None:
        write_scenario(best.of, write)
        if not (as_json or quiet):
            terminal.note(f"wrote {write}: {found.cheaper.hardware}; corsair-sim serve {write}")


def payload_of(found: "TcoComparison") -> dict[str, Any]:
    """As ``--json`` prints it."""
    return {
        "kind": "tco",
        "cheaper": found.cheaper.hardware,
        "first_cheaper": found.first_cheaper,
        "wins": dict(zip(("first", "second"), found.wins, strict=True)),
        "draws": len(found.pairs),
        "contradicted": found.contradicted,
        "first": _side(found, found.first),
        "second": _side(found, found.second),
    }


def _side(found: "TcoComparison", side: "Side") -> dict[str, Any]:
    even = found.break_even(side)
    return {
        "hardware": side.hardware,
        "answer": side.answer and plain(side.answer),
        "cost_per_million_output_tokens_usd": side.usd_per_million,
        "reason": side.reason,
        "card_usd": side.bill and side.bill.card_usd,
        "break_even_card_usd": even and even[0],
        "break_even_card_usd_p5_p50_p95": even and list(even[1]),
        "drawn": [
            each and {"cards": each.cards, "usd_per_month": each.usd_per_hour * HOURS_A_MONTH}
            for each in side.drawn
        ],
    }


def text_of(found: "TcoComparison") -> str:
    """The answer, both sides, the odds, and the prices at which it turns."""
    sides = (found.first, found.second)
    plans = [
        f"  {each.hardware}: {each.reason if each.answer is None else shape(each.answer)}"
        for each in sides
    ]
    table = terminal.table(("", *(each.hardware for each in sides)), _rows(found))
    lines = [_head(found), *plans, "", table]
    if found.pairs:
        lines += ["", _odds(found)]
    lines += [line for side in sides for line in _turns(found, side)]
    return "\n".join(lines)


def _head(found: "TcoComparison") -> str:
    best, other = found.cheaper, found.dearer
    if best.bill is None or other.bill is None:
        return f"{best.hardware}: {other.hardware} cannot meet the SLO"
    months = [side.usd_per_hour * HOURS_A_MONTH for side in (best.bill, other.bill)]
    return (
        f"{best.hardware} is the cheaper: {months[0]:,.0f} against {months[1]:,.0f} USD a month "
        f"of {HOURS_A_MONTH:.0f} hours, 1 : {months[1] / months[0]:.2f}"
    )


def _rows(found: "TcoComparison") -> list[list[object]]:
    """What each side buys; blank where no cluster meets the SLO."""
    rows: dict[str, list[object]] = {}
    for side in (found.first, found.second):
        known = plain(side.answer) if side.answer else {}
        size = side.answer.cluster if side.answer else None
        cells = {
            "cards": known.get("cards"),
            "servers": size and size.racks * size.servers_per_rack,
            "p99 TTFT, ms": known.get("p99_ttft_ms"),
            "p99 TPOT, ms": known.get("p99_tpot_ms"),
            "kW": known.get("power_kw"),
            "USD a card": side.bill and side.bill.card_usd,
            "USD a month": known.get("usd_per_month"),
            "  low": known.get("usd_per_month_low"),
            "  high": known.get("usd_per_month_high"),
            "USD per million output tokens": side.usd_per_million,
        }
        for name, value in cells.items():
            rows.setdefault(name, [name]).append("" if value is None else value)
    return list(rows.values())


def _odds(found: "TcoComparison") -> str:
    """In how many draws each is the cheaper, and the draws that say nothing."""
    first, second = found.first, found.second
    parts = [
        f"{first.hardware} is the cheaper in {found.wins[0]} of {len(found.pairs)} draws of what "
        f"is uncertain, {second.hardware} in {found.wins[1]}; cards that they need there: "
        + "; ".join(f"{side.hardware} {_span(side.drawn)}" for side in (first, second))
    ]
    if found.contradicted:
        parts.append(f"({found.contradicted} draws contradict a published point)")
    return "\n".join(parts)


def _span(bills: "tuple[Bill | None, ...]") -> str:
    cards = [each.cards for each in bills if each is not None]
    more = len(bills) - len(cards)
    span = f"{min(cards)} to {max(cards)}" if cards else "no known number"
    return span + (f" (more than twice as many in {more})" if more else "")


def _turns(found: "TcoComparison", side: "Side") -> list[str]:
    """The price of the side's card at which both cost the same."""
    even = found.break_even(side)
    if even is None or side.bill is None:
        return []
    price, band = even
    spread = f", 5 to 95 % of the draws {_usd(band[0])} to {_usd(band[2])}" if band else ""
    if price < 0:
        words = "the dearer even with free cards"
    else:
        words = f"the cheaper below {_usd(price)} USD a card"
    return [f"{side.hardware} is {words} ({_usd(side.bill.card_usd)} now{spread})"]


def _usd(value: float) -> str:
    return f"{value:,.0f}" if value >= 0 else "below 0"
