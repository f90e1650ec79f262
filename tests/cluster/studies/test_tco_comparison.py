"""Two kinds of hardware for one traffic: who is cheaper, in how many draws, from which price."""

import json
from typing import Any

import pytest

from cluster import load
from cluster.commands.against import text_of
from cluster.commands.app import main
from cluster.scenario.load import ScenarioError
from cluster.scenario.schema import Scenario, Slo
from cluster.studies.draws import draws
from cluster.studies.other_hardware import both_sides
from cluster.studies.plan.objective import Objective
from cluster.studies.plan.space import Choices
from cluster.studies.scored_sizes import Bill, out_of_reach
from cluster.studies.tco_comparison import Side, TcoComparison, compare_tco
from topology.catalog import load_hardware
from topology.catalog.parts import CARD_PRICE

FEW = Choices(
    tensor_parallel_size=(1,),
    pipeline_parallel_size=(1, 2),
    max_num_seqs=(8,),
    max_num_batched_tokens=(256,),
)
"""Qwen3-0.6B fits one card of either kind."""


def question(**changes: Any) -> Scenario:
    traffic = {
        "requests": 20,
        "arrivals": {"poisson": {"rate_per_s": 2.0}},
        "prompt_tokens": {"fixed": 128},
        "output_tokens": {"fixed": 16},
    }
    scenario = {"name": "tiny", "model": "qwen3-0.6b", "slo": {"tpot_s": 0.02}}
    return load({**scenario, "workload": {"synthetic": traffic}, **changes})


def bill(cards: int, card_usd: float, usd_per_hour: float) -> Bill:
    """With a card that is written off over 1,000 hours."""
    return Bill(
        cards=cards,
        card_usd=card_usd,
        usd_per_hour=usd_per_hour,
        usd_per_hour_per_card_usd=cards / 1000,
    )


def side(name: str, own: Bill, *drawn: Bill | None) -> Side:
    return Side(scenario=question(hardware=name), found=None, bill=own, drawn=drawn)


def test_a_card_breaks_even_where_both_sides_cost_the_same_an_hour() -> None:
    # four cards of 1,000 USD over 1,000 hours are 4 USD of 5 an hour; the other side has 9: with
    # 2,000 USD a card it is 8 + 1 = 9
    own = bill(4, 1000.0, 5.0)

    assert own.break_even_usd(bill(1, 7000.0, 9.0)) == 2000.0
    # one card of 7,000 USD is 7 of 9 USD; 3,000 leave 3 + 2 = 5
    assert bill(1, 7000.0, 9.0).break_even_usd(own) == 3000.0
    # what stands around the card costs 8 USD already: not even free cards get down to 5
    assert bill(1, 1000.0, 9.0).break_even_usd(own) == -3000.0


def test_the_price_that_is_printed_makes_the_months_of_two_searches_equal() -> None:
    found = compare_tco(question(), "h200", choices=FEW, samples=0)
    turn = found.break_even(found.first)
    assert turn is not None
    at_it = {CARD_PRICE: turn[0]}
    again = compare_tco(question(hardware_set=at_it), "h200", choices=FEW, samples=0)

    assert found.cheaper is found.first
    million = [side.usd_per_million for side in (again.first, again.second)]
    assert million[0] == pytest.approx(million[1])  # of the same tokens
    assert again.first.bill is not None
    assert again.second.bill is not None
    assert again.first.bill.usd_per_hour == pytest.approx(again.second.bill.usd_per_hour)


def test_the_odds_count_draws_and_a_side_without_a_cluster_in_one_loses_it() -> None:
    one, three, five = (bill(1, 100.0, usd) for usd in (1.0, 3.0, 5.0))
    found = TcoComparison(
        first=side("corsair", one, one, five, three, None),
        second=side("h200", three, three, three, None, one),
        contradicted=0,
    )

    assert found.wins == (2, 2)  # 1 < 3, 5 > 3, 3 < none, none > 1
    assert found.first_cheaper == 0.5


def test_a_side_draws_the_price_of_its_own_card_apart_and_shares_that_of_electricity() -> None:
    corsair, h200 = (question(hardware=name) for name in ("corsair", "h200"))
    names = (CARD_PRICE, "cost.electricity_usd_per_j")
    first = draws(corsair, 16, 0, names)
    second = draws(h200, 16, 0, names, unlike=load_hardware("corsair"))
    ranks = [
        [sorted(each.hardware_set[name] for each in drawn).index(one.hardware_set[name])
         for one in drawn]
        for drawn in (first, second)
        for name in names
    ]  # fmt: skip

    assert ranks[0] != ranks[2]
    assert ranks[1] == ranks[3]


def test_formats_are_as_wide_on_both_sides() -> None:
    (own, first), (other, second) = both_sides(question(), "h200", Choices())

    assert (first.weights, second.weights) == (("mxint8",), ("fp8_e4m3",))
    assert (own.formats.activations, other.formats.activations) == ("mxint8", "fp8_e4m3")
    assert (other.hardware, other.workload, other.slo) == ("h200", own.workload, own.slo)

    _, (_, four) = both_sides(question(), "h200", Choices(weights=("mxint4",)))
    assert (four.weights, four.kv) == (("mxfp4",), ("fp8_e4m3",))


def test_what_belongs_to_the_hardware_does_not_go_to_the_other_side() -> None:
    figures = {"hardware_set": {"chiplet.sram_bytes": 512e6}, "memory": {"mode": "capacity"}}
    (own, _), (other, _) = both_sides(question(**figures), "b200", Choices())

    assert own.hardware_set
    assert (other.hardware_set, other.memory.mode) == ({}, load(name="x").memory.mode)


def test_a_bound_that_no_plan_can_meet_is_named_with_the_least_there_is() -> None:
    scenario = question(hardware="h200")
    # a kernel's launch alone takes microseconds on a GPU, and a layer has several
    reason = out_of_reach(scenario, Objective(slo=Slo(tpot_s=1e-5)), FEW)

    assert reason is not None
    assert reason.startswith("on a rack of 32 cards a request alone has a TPOT of ")
    assert out_of_reach(scenario, Objective(slo=Slo(tpot_s=1.0)), FEW) is None


def test_the_command_answers_with_plans_prices_and_draws(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "--set model=qwen3-0.6b --set workload.synthetic.requests=20 --tp 1 --pp 1"
    few = f"{words} --max-num-seqs 8 --max-num-batched-tokens 256 --slo tpot_s=0.02".split()
    text = text_of(compare_tco(question(), "h100", choices=FEW, samples=0))
    assert "  h100: 1 x (TP 1 x PP 1), performance, fp8_e4m3 weights" in text
    # its host of 60,000 USD is 1,000 USD a month over five years, more than all of Corsair
    assert "h100 is the dearer even with free cards (27,500 now)" in text
    code = main(["plan", *few, "--against", "h100", "--samples", "2", "--json"])
    found = json.loads(capsys.readouterr().out)

    assert code == 0
    assert found["kind"] == "tco"
    assert found["draws"] + found["contradicted"] == 2
    assert {found["first"]["hardware"], found["second"]["hardware"]} == {"corsair", "h100"}
    assert len(found["second"]["drawn"]) == found["draws"]
    assert sum(found["wins"].values()) == found["draws"]


def test_a_misspelt_name_gets_the_nearest_and_draws_alone_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    slo = ["--slo", "tpot_s=0.02"]

    assert main(["plan", *slo, "--against", "h20"]) == 2
    assert "did you mean 'h200'?" in capsys.readouterr().err
    assert main(["plan", *slo, "--samples", "2"]) == 2
    assert "--against" in capsys.readouterr().err


def test_pools_are_refused() -> None:
    pools = {"prefill": {"cards": 2}, "decode": {"cards": 6}}
    with pytest.raises(ScenarioError, match="leave pools out"):
        compare_tco(question(pools=pools), "h200")
