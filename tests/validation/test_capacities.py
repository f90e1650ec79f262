"""Capacities and LPDDR floors that follow from the published figures, and what a plan leaves."""

from typing import Any

import pytest

from cluster.perf_model.prices import steady_decode
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import lay_out, priced
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import kv_bytes_per_token, load_model, weight_bytes

USERS = 60
EIGHT = get_format("mxint8")
LPDDR_EFFICIENCY = 0.8


def scenario(model: str, plan: dict[str, int], servers: int, mode: str, users: int) -> Any:
    traffic = {
        "requests": users,
        "arrivals": {"concurrency": users},
        "prompt_tokens": {"fixed": 512},
        "output_tokens": {"fixed": 2},
    }
    requested = {
        "model": model,
        "plan": plan,
        "cluster": {"servers_per_rack": servers},
        "memory": {"mode": mode},
        "scheduler": {"max_num_seqs": users, "max_num_batched_tokens": 64},
        "workload": {"synthetic": traffic},
    }
    return lay_out(resolve(load(requested)))


@pytest.mark.parametrize(
    ("model", "cards", "fraction", "context"),
    [
        ("llama-3.1-8b", 8, 1.0, 1960),
        ("llama-3.1-70b", 64, 1.0, 5640),
        ("llama-3.1-8b", 8, 0.9, 1564),
        ("llama-3.1-70b", 64, 0.9, 4357),
    ],
)
def test_sram_as_one_pool_holds_the_published_contexts(
    model: str, cards: int, fraction: float, context: int
) -> None:
    # 2 GB a card, as published (8 x 256 MB are 2.4 % more).
    shape = load_model(model)
    left = cards * 2e9 * fraction - weight_bytes(shape, EIGHT)

    assert left / (USERS * kv_bytes_per_token(shape, EIGHT)) == pytest.approx(context, rel=3e-3)


@pytest.mark.parametrize(
    ("model", "stages", "servers", "low", "high"),
    [("llama-3.1-8b", 2, 1, 1500, 1650), ("llama-3.1-70b", 16, 8, 2900, 4550)],
)
def test_the_fullest_chiplet_of_a_plan_holds_less(
    model: str, stages: int, servers: int, low: int, high: int
) -> None:
    # Layers are whole, and the first and last stages carry the embedding and the head besides.
    # The bounds above are those of one pool of eight 256 MB chiplets a card, 90 % usable.
    plan = {"tensor_parallel_size": 4, "pipeline_parallel_size": stages}
    fit = scenario(model, plan, servers, "performance", USERS).fit

    assert low < fit.blocks * 64 / USERS < high


def test_a_card_holds_two_copies_of_70b_in_lpddr() -> None:
    hardware = load_hardware("corsair")
    chiplets = hardware["card.packages"] * hardware["package.chiplets"]
    card = chiplets * hardware["chiplet.lpddr_bytes"]

    assert card // weight_bytes(load_model("llama-3.1-70b"), EIGHT) >= 2


@pytest.mark.parametrize(
    ("cards", "floor_ms", "more"),
    [(1, 179, 0.02), (8, 22.4, 0.02), (64, 2.8, 0.13)],
)
def test_70b_from_lpddr_decodes_at_the_floor(cards: int, floor_ms: float, more: float) -> None:
    """The floor is all bytes over all bandwidth; a step reads no embedding but a row.

    On 64 cards each of 8 KV heads, with its projections, stands on 8 cards: 14 % more bytes.
    """
    plan = {"tensor_parallel_size": cards}
    layout = scenario("llama-3.1-70b", plan, -(-cards // 8), "capacity", 1)
    tpot_s = steady_decode(priced(layout).prices, batch=1, context=512).tpot_s

    assert tpot_s == pytest.approx(floor_ms * 1e-3 / LPDDR_EFFICIENCY, rel=max(more, 0.02))


def test_what_64_cards_read_beyond_the_floor_is_keys_and_values_held_eight_times() -> None:
    layout = scenario("llama-3.1-70b", {"tensor_parallel_size": 64}, 8, "capacity", 1)
    tpot_s = steady_decode(priced(layout).prices, batch=1, context=512).tpot_s
    shape = load_model("llama-3.1-70b")
    keys_and_values = 80 * 2 * 8 * 128 * 8192 * 65 / 64
    table = shape.hidden * shape.vocab * 65 / 64
    read = weight_bytes(shape, EIGHT) - table + 7 * keys_and_values

    assert tpot_s == pytest.approx(read / (64 * 400e9 * LPDDR_EFFICIENCY), rel=0.02)


def test_a_pipeline_of_servers_gives_a_token_at_every_stage_and_a_user_waits_for_all() -> None:
    plan = {"tensor_parallel_size": 8, "pipeline_parallel_size": 8}
    layout = scenario("llama-3.1-70b", plan, 8, "capacity", 8)
    prices = priced(layout).prices
    alone = steady_decode(prices, batch=1, context=512)
    full = steady_decode(prices, batch=8, context=512)

    # 22 ms for each token of a user; with all eight slots at work one every 2.8 ms.
    assert alone.tpot_s == pytest.approx(22.4e-3 / LPDDR_EFFICIENCY, rel=0.03)
    assert full.tpot_s / 8 == pytest.approx(2.8e-3 / LPDDR_EFFICIENCY, rel=0.10)
