"""Mean waits of a single server at high load against Pollaczek and Khinchine, as a table.

Run as ``python benchmarks/queueing.py``. CI checks loads of 0.5 and 0.8 (``tests/validation``); at
0.95 waits are so long remembered that a standard error under 2 % takes millions of requests. All
rows use the same twenty seeds, so they err together.
"""

import sys
import time

import numpy as np

from benchmarks.linear_prices import linear_prices
from cluster.perf_model.tables import PriceTables
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits
from corsair_common.units import Integers

BUDGET = 512
LIMITS = Limits(
    max_num_seqs=1, max_num_batched_tokens=BUDGET, block_size=64, blocks=8, max_model_len=1024
)
SERVICE_PS = np.where(np.arange(BUDGET + 1) > 0, 50_000_000 + 400_000 * np.arange(BUDGET + 1), 0)
PROMPTS = {"M/D/1, 256 tokens": np.array([256]), "M/G/1, 1-512 tokens": np.arange(1, BUDGET + 1)}
SEEDS = range(20)
REQUESTS = {0.5: 50_000, 0.8: 200_000, 0.95: 600_000}
"""Of each seed, by load."""
WARM_UP_SHARE = 0.05
MOST_ERROR = 0.02


def mean_wait_ps(prices: PriceTables, prompts: Integers, load: float, seed: int) -> float:
    """Mean wait of Poisson arrivals that keep the server busy ``load`` of the time."""
    rng = np.random.default_rng(seed)
    requests = REQUESTS[load]
    gaps_ps = rng.exponential(SERVICE_PS[prompts].mean() / load, requests)
    arrivals = Arrivals(
        arrival_ps=np.rint(np.cumsum(gaps_ps)).astype(np.int64),
        prompt_tokens=rng.choice(prompts, requests),
        output_tokens=np.ones(requests, np.int64),
        router_choice=np.zeros(0, np.int64),
        key_offsets=np.zeros(requests + 1, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )
    waits_ps = serve(arrivals, prices, LIMITS).first_scheduled_ps - arrivals.arrival_ps
    return float(waits_ps[int(WARM_UP_SHARE * requests) :].mean())


def main() -> int:
    """Print a row for each queue and load; 1 if any misses by three standard errors."""
    prices = linear_prices(SERVICE_PS[np.newaxis, :], 1, np.zeros((1, 1), np.int64))
    begun = time.perf_counter()
    missed = False
    print(
        f"{'queue':<20} {'load':>5} {'theory us':>10} {'measured':>10} {'s.e. %':>7} {'off by':>8}"
    )
    for name, prompts in PROMPTS.items():
        service_ps = SERVICE_PS[prompts].astype(float)
        for load in REQUESTS:
            theory_ps = load * (service_ps**2).mean() / (2 * service_ps.mean() * (1 - load))
            means_ps = [mean_wait_ps(prices, prompts, load, seed) for seed in SEEDS]
            error_ps = np.std(means_ps, ddof=1) / np.sqrt(len(SEEDS))
            off = (np.mean(means_ps) - theory_ps) / error_ps
            missed |= bool(abs(off) > 3 or error_ps > MOST_ERROR * theory_ps)
            print(
                f"{name:<20} {load:>5} {theory_ps / 1e6:>10.2f} {np.mean(means_ps) / 1e6:>10.2f}"
                f" {error_ps / theory_ps:>7.2%} {off:>+5.1f} s.e."
            )
    requests = len(SEEDS) * len(PROMPTS) * sum(REQUESTS.values())
    print(f"{requests:,} requests in {time.perf_counter() - begun:.1f} s")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
