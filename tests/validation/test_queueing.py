"""One server, one queue: the engine against what queueing theory says of it.

One stage, one sequence at a time, prompts within the budget and answers of one token make a
replica a single server with Poisson arrivals; its service time stands in the price tables.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.attention import attention_ps, measures_of
from cluster.perf_model.tables import PriceTables
from cluster.scenario.load import load as load_scenario
from cluster.scenario.resolve import resolve
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.reference import serve_reference
from cluster.serving.run import assemble
from corsair_common.units import Integers

LinearTables: TypeAlias = Callable[[Integers, int], PriceTables]

BUDGET = 512
LIMITS = Limits(
    max_num_seqs=1, max_num_batched_tokens=BUDGET, block_size=64, blocks=8, max_model_len=1024
)
SERVICE_PS = np.where(np.arange(BUDGET + 1) > 0, 50_000_000 + 400_000 * np.arange(BUDGET + 1), 0)
"""By prompt tokens: 50 us and 0.4 us a token."""
EQUAL = np.array([256])
MIXED = np.arange(1, BUDGET + 1)

SEEDS = range(20)
REQUESTS, WARM_UP = 20_000, 2_000
"""Of each seed; the first ones still see that the server began empty."""


def poisson(
    service_ps: Integers, prompts: Integers, load: float, requests: int, seed: int
) -> Arrivals:
    """Prompts drawn with equal chance, coming so that the server is busy ``load`` of the time."""
    rng = np.random.default_rng(seed)
    gaps_ps = rng.exponential(service_ps[prompts].mean() / load, requests)
    return Arrivals(
        arrival_ps=np.rint(np.cumsum(gaps_ps)).astype(np.int64),
        prompt_tokens=rng.choice(prompts, requests),
        output_tokens=np.ones(requests, np.int64),
        router_choice=np.zeros(0, np.int64),
        key_offsets=np.zeros(requests + 1, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )


def lindley(arrival_ps: Integers, service_ps: Integers) -> list[int]:
    """Each waits for what the one before still had to wait and take when it came itself."""
    waits = [0]
    gaps = np.diff(arrival_ps).tolist()
    for gap_ps, taken_ps in zip(gaps, service_ps[:-1].tolist(), strict=True):
        waits.append(max(0, waits[-1] + taken_ps - gap_ps))
    return waits


def pollaczek_khinchine_ps(services_ps: Integers, load: float) -> float:
    """Mean wait: load times the mean rest of a service, over what is left of the server."""
    mean_rest_ps = (services_ps.astype(float) ** 2).mean() / (2 * services_ps.mean())
    return float(load * mean_rest_ps / (1 - load))


def mean_wait_ps(
    prices: PriceTables, service_ps: Integers, prompts: Integers, load: float
) -> tuple[float, float]:
    """Mean over the seeds, and its standard error."""
    means_ps = []
    for seed in SEEDS:
        arrivals = poisson(service_ps, prompts, load, REQUESTS, seed)
        waits_ps = serve(arrivals, prices, LIMITS).first_scheduled_ps - arrivals.arrival_ps
        means_ps.append(waits_ps[WARM_UP:].mean())
    return float(np.mean(means_ps)), float(np.std(means_ps, ddof=1) / np.sqrt(len(SEEDS)))


@pytest.mark.parametrize("engine", [serve, serve_reference])
@pytest.mark.parametrize("load", [0.5, 0.8])
def test_each_request_waits_as_lindleys_recursion_says_to_the_picosecond(
    engine: Callable[..., Served], load: float, linear_tables: LinearTables
) -> None:
    arrivals = poisson(SERVICE_PS, MIXED, load, 3_000, seed=1)

    served = engine(arrivals, linear_tables(SERVICE_PS, 1), LIMITS)

    waits_ps = served.first_scheduled_ps - arrivals.arrival_ps
    assert waits_ps.tolist() == lindley(arrivals.arrival_ps, SERVICE_PS[arrivals.prompt_tokens])
    assert max(waits_ps) > 0


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("prompts", [EQUAL, MIXED], ids=["equal", "mixed"])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(
    prompts: Integers, load: float, linear_tables: LinearTables
) -> None:
    # With equal prompts this is M/D/1: half the load over what is left, in services.
    mean_ps, error_ps = mean_wait_ps(linear_tables(SERVICE_PS, 1), SERVICE_PS, prompts, load)

    expected_ps = pollaczek_khinchine_ps(SERVICE_PS[prompts], load)
    assert abs(mean_ps - expected_ps) < 3 * error_ps
    assert error_ps < 0.02 * expected_ps  # so that the line above says something


def test_equal_prompts_at_four_fifths_load_wait_for_two_services_on_average() -> None:
    # M/D/1: 0.8 / (2 (1 - 0.8)) = 2 services of 50 + 0.4 x 256 us.
    assert pollaczek_khinchine_ps(SERVICE_PS[EQUAL], 0.8) == pytest.approx(2 * 152.4e6)


def test_the_real_prices_of_llama_3_8b_on_a_server_make_such_a_queue_too() -> None:
    # A prompt's service stands in its tables: a prompt of t tokens has ceil(t / 64) KV blocks.
    scenario = load_scenario(
        {
            "name": "queue",
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 8, "pipeline_parallel_size": 1},
            "scheduler": {"max_num_seqs": 1, "max_num_batched_tokens": BUDGET},
            "workload": {"synthetic": {"preset": "azure-conv-2023", "requests": 1}},
        }
    )
    prices = assemble(resolve(scenario)).prices
    service_ps = prices.linear_ps[0] + prices.collective_ps[0] + prices.head_ps[0, 1]
    for tokens in range(1, BUDGET + 1):
        passes = -(-tokens // 64) * -(-tokens * int(prices.kinds["clocks_per_query"][0]) // 64)
        service_ps[tokens] += attention_ps(
            prices.attention[0], measures_of(1, prefill_passes=passes)
        )

    arrivals = poisson(service_ps, MIXED, 0.8, 3_000, seed=1)
    waits_ps = serve(arrivals, prices, LIMITS).first_scheduled_ps - arrivals.arrival_ps
    assert waits_ps.tolist() == lindley(arrivals.arrival_ps, service_ps[arrivals.prompt_tokens])

    mean_ps, error_ps = mean_wait_ps(prices, service_ps, MIXED, 0.8)
    assert abs(mean_ps - pollaczek_khinchine_ps(service_ps[MIXED], 0.8)) < 3 * error_ps
