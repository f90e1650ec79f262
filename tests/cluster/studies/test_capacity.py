"""Capacity studies on traffic whose answer is known."""

from typing import Any

import pytest

from cluster.scenario.load import ScenarioError, load
from cluster.scenario.schema import Scenario, Slo
from cluster.studies.capacity import Found, NoCapacityError, clusters, max_rate, min_cards
from cluster.studies.plan.simulations import Objective, Verdict


def scenario_with(rate_per_s: float, **changes: Any) -> Scenario:
    """Llama-3.1-8B on pairs of cards; short prompts and answers."""
    return load(
        {
            "name": "small",
            "model": "llama-3.1-8b",
            "formats": {"weights": "mxint4"},
            "cluster": {"cards_per_server": 4},
            "plan": {"tensor_parallel_size": 2},
            "memory": {"mode": "capacity"},
            "workload": {
                "synthetic": {
                    "requests": 300,
                    "arrivals": {"poisson": {"rate_per_s": rate_per_s}},
                    "prompt_tokens": {"fixed": 256},
                    "output_tokens": {"fixed": 32},
                }
            },
        },
        **changes,
    )


OBJECTIVE = Objective(slo=Slo(ttft_s=0.2, tpot_s=0.05))


def test_sizes_rise_from_one_card_over_servers_to_racks() -> None:
    sizes = clusters(scenario_with(1))
    cards = [each.racks * each.servers_per_rack * each.cards_per_server for each in sizes]

    assert cards[:10] == [1, 2, 3, 4, 5, 6, 7, 8, 16, 24]
    assert cards[14:19] == [64, 80, 96, 112, 128]  # two racks alike: 5 to 8 servers in each
    assert cards == sorted(set(cards))


def test_the_next_smaller_cluster_fails_and_the_answer_does_not() -> None:
    found = min_cards(scenario_with(400), OBJECTIVE)

    assert found.answer.meets
    assert found.beyond is not None
    assert not found.beyond.meets
    assert found.beyond.cards < found.answer.cards
    sizes = clusters(scenario_with(400))
    assert sizes[sizes.index(found.answer.cluster) - 1] == found.beyond.cluster


def test_five_percent_more_traffic_fails_and_the_answer_does_not() -> None:
    found = max_rate(scenario_with(20), OBJECTIVE)

    assert found.answer.meets
    assert found.beyond is not None
    assert not found.beyond.meets
    assert found.beyond.rate_scale == pytest.approx(1.05 * found.answer.rate_scale)


def test_an_unreachable_bound_is_reported() -> None:
    with pytest.raises(NoCapacityError, match="however slowly they come, they miss the SLO"):
        max_rate(scenario_with(20), Objective(slo=Slo(tpot_s=1e-6)))


def test_without_a_bound_there_is_no_capacity() -> None:
    with pytest.raises(ScenarioError, match="capacity needs an SLO"):
        min_cards(scenario_with(1), Objective(slo=Slo()))


def test_verdicts_that_turn_round_are_named() -> None:
    few, many = clusters(scenario_with(1))[1], clusters(scenario_with(1))[3]
    good = Verdict(cluster=few, rate_scale=1.0, meets=True, summary={})
    bad = Verdict(cluster=many, rate_scale=1.0, meets=False, summary={})

    found = Found(answer=good, beyond=None, tried=(good, bad))

    assert found.contradictions == ["2 cards at x1 meet the SLO and 4 at x1 do not"]
    assert Found(answer=good, beyond=None, tried=(good,)).contradictions == []
