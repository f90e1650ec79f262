"""What docs/studies/mixed-racks.md concludes, held to new runs."""

from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.mixed_racks import (
    MACHINES,
    PAGE,
    PROMPTS,
    TABLES,
    corsair_alone,
    h200_alone,
    least_tokens,
    light,
    plan,
    served,
    traffic,
)


def one_at_a_time(prompt: int, machine: str) -> Mapping[str, Any]:
    return served(light(prompt), MACHINES[machine])


def test_every_table_has_its_place_on_the_page() -> None:
    page = PAGE.read_text("utf-8")

    assert [name for name in TABLES if page.count(f"<!-- {name} -->\n\n| ") != 1] == []
    assert page.count("<!-- end -->") == len(TABLES)


def test_the_first_answer_comes_later_and_every_token_sooner_than_on_gpus_alone() -> None:
    for prompt in (PROMPTS[0], PROMPTS[-1]):
        mixed = one_at_a_time(prompt, "H200 + Corsair")
        alone = one_at_a_time(prompt, "H200 alone, TP 8")

        assert 25 < mixed["mean_ttft_ms"] - alone["mean_ttft_ms"] < 100
        assert 4 * mixed["mean_tpot_ms"] < alone["mean_tpot_ms"]
        assert 2 <= (least_tokens(mixed, alone) or 0) < 50


def test_corsair_alone_reads_prompts_sooner_even_if_handing_over_takes_no_time() -> None:
    at_once = {"pools": {"prefill": {"hardware_set": {"host.hand_over_s": 0.0}}}}
    for prompt in PROMPTS:
        mixed = served(light(prompt), at_once)
        alone = one_at_a_time(prompt, "Corsair alone, TP 2 x PP 4")

        assert alone["mean_ttft_ms"] < mixed["mean_ttft_ms"]
        assert least_tokens(mixed, alone) is None


def test_the_hand_over_decides_more_than_the_nics() -> None:
    slow = {"prefill": {"hardware_set": {"host.hand_over_s": 0.65}}}
    slow |= {"decode": {"hardware_set": {"host.hand_over_s": 0.65}}}
    nic = {"hardware_set": {"server.nic_bandwidth_bytes_per_s": 25e9}}
    alone = one_at_a_time(65_536, "H200 alone, TP 8")
    usual, narrow, late = (
        least_tokens(served(light(65_536), changes), alone) or 0
        for changes in ({}, {"pools": {"prefill": nic, "decode": nic}}, {"pools": slow})
    )

    assert 0 < usual < narrow < usual + 30
    assert late > usual + 300


def test_a_token_of_the_mixed_rack_costs_less_than_on_gpus_and_more_than_on_corsair() -> None:
    requests = traffic(4096, 512, {"poisson": {"rate_per_s": 20}}, 400)
    prefill = {"pools": {"prefill": {"plan": plan(1, 1)}}}
    corsair, mixed, h200 = (
        served(requests, each) for each in (corsair_alone(2, 4), prefill, h200_alone(1))
    )

    for key in ("facility_joules_per_output_token", "cost_per_million_output_tokens_usd"):
        assert corsair[key] < mixed[key] < h200[key], key
    assert mixed["slo_attainment"] == 1.0


def test_pools_give_long_prompts_the_most_even_tokens() -> None:
    requests = traffic(16_384, 512, {"poisson": {"rate_per_s": 10}}, 400)
    prefill = {"pools": {"prefill": {"plan": plan(1, 1)}}}
    mixed, own, undivided = (
        served(requests, each)
        for each in (prefill, MACHINES["Corsair, capacity + performance"], corsair_alone(2, 8))
    )

    assert mixed["p99_tpot_ms"] == pytest.approx(own["p99_tpot_ms"], rel=0.1)
    assert 2 * mixed["p99_tpot_ms"] < undivided["p99_tpot_ms"]
    assert own["mean_ttft_ms"] < mixed["mean_ttft_ms"]
    cost = "cost_per_million_output_tokens_usd"
    assert own[cost] < 0.7 * mixed[cost]
