"""Speed of the serving engine: tokens per second, time per step, and the ratio to the reference.

Run ``python benchmarks/serving.py``. Traffic like Azure's conversations (mean prompt 1,155, mean
output 211 tokens), PP 2, 64 sequences a slot, KV accounted, every step executed and logged. Prices
are made up, near those of an 8B model on one server, as the engine's speed does not depend on them.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from cluster.perf_model.attention import ATTENTION, WIDTH
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.tables import KIND, PriceTables, Records
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.reference import serve_reference
from corsair_common.units import PS_PER_S

TOKENS_PER_STEP = 512


def make_prices(*, replicas: int, stages: int = 2, max_num_seqs: int = 128) -> PriceTables:
    """Tables of about half a millisecond per stage; only the last stage has a head."""
    tokens = np.arange(TOKENS_PER_STEP + 1)
    rows = np.arange(max_num_seqs + 1)
    linear = np.where(tokens > 0, 300_000_000 + 600_000 * tokens, 0)
    head = np.where(rows > 0, 20_000_000 + 50_000 * rows, 0)
    attention = np.zeros((2, 3), ATTENTION)
    attention["layers"], attention["parts"], attention["ps_per_tick"] = 16, 16, 873.8
    attention["quantum"], attention["tick"], attention["fixed"] = 256, 64, 96
    attention["a_decode_blocks"] = attention["a_prefill_passes"] = 2
    softmax = attention[:, 1]
    softmax["quantum"], softmax["tick"], softmax["fixed"] = 1024, 8, 0
    softmax["a_decode_blocks"], softmax["a_prefill_passes"] = 256, 512
    return PriceTables(
        linear_ps=np.stack([linear, linear]),
        collective_ps=np.stack([linear // 4, linear // 4]),
        floor_ps=np.zeros((2, len(tokens)), np.int64),
        send_ps=np.stack([1_500_000 + 9_000 * tokens, 0 * tokens]),
        head_ps=np.stack([0 * head, head]),
        attention=attention,
        linear_by_bound_ps=np.zeros((2, len(tokens), 6), np.int64),
        head_by_bound_ps=np.zeros((2, len(rows), 6), np.int64),
        collective_bytes=np.zeros((2, len(tokens), 1), np.int64),
        send_bytes=np.zeros((2, len(tokens)), np.int64),
        token_counts=np.zeros((2, len(tokens), len(COUNTS)), np.int64),
        head_counts=np.zeros((2, len(rows), len(COUNTS)), np.int64),
        attention_counts=np.zeros((2, WIDTH, len(COUNTS)), np.int64),
        stage_class=np.tile(np.minimum(np.arange(stages), 1), (replicas, 1)),
        return_ps=np.full(replicas, 1_100_000),
        kinds=np.array([(0, 32, 64, 0)], KIND),
        bounds=("stream", "mac", "simd", "lpddr", "network", "dispatch"),
        far_bound=3,
        far_block_ps=np.zeros((2, 1)),
    )


def make_arrivals(requests: int, *, rate_per_s: float, seed: int = 0) -> Arrivals:
    """Poisson arrivals, lognormal lengths."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(PS_PER_S / rate_per_s, requests)
    prompt = np.clip(rng.lognormal(6.6, 0.95, requests), 1, 7000).astype(np.int64)
    output = np.clip(rng.lognormal(5.1, 0.7, requests), 1, 1000).astype(np.int64)
    return Arrivals(
        arrival_ps=np.cumsum(gaps).astype(np.int64),
        prompt_tokens=prompt,
        output_tokens=output,
        router_choice=np.zeros(0, np.int64),
        key_offsets=np.zeros(requests + 1, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )


def make_limits(*, blocks: int = 4_000) -> Limits:
    """Room for 64 sequences a slot, and KV for about half of them at full length."""
    return Limits(
        max_num_seqs=128,
        max_num_batched_tokens=TOKENS_PER_STEP,
        block_size=64,
        blocks=blocks,
        max_model_len=8192,
    )


def fastest_s(work: Callable[[], object], times: int) -> float:
    """Processor seconds of the fastest of several runs."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


class Totals:
    """Sums over the step log."""

    def __init__(self) -> None:
        self.steps = self.rows = self.tokens = 0

    def __call__(self, log: Records) -> None:
        self.steps += len(log)
        self.rows += int(log["running"].sum())
        self.tokens += int(log["emitted"].sum())


def measure(name: str, arrivals: Arrivals, prices: PriceTables, times: int = 3) -> float:
    """Print one line about this case; return output tokens per second."""
    totals = Totals()
    limits = make_limits()
    served: Served = serve(arrivals, prices, limits, on_steps=totals)
    seconds = fastest_s(
        lambda: serve(arrivals, prices, limits, on_cycles=lambda _log: None), times=times
    )
    print(
        f"{name:28} {totals.tokens / seconds / 1e6:7.1f} M output tokens/s "
        f"{seconds / totals.steps * 1e9:7.0f} ns/step "
        f"{seconds / len(arrivals.arrival_ps) * 1e6:7.2f} us/request  "
        f"mean batch {totals.rows / totals.steps:5.1f}  "
        f"preemptions {int(served.preemptions.sum())}"
    )
    return totals.tokens / seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=260.0, help="requests per second and replica")
    options = parser.parse_args()
    serve(make_arrivals(10, rate_per_s=1.0), make_prices(replicas=1), make_limits())
    for replicas in (1, 4, 16, 64):
        arrivals = make_arrivals(options.requests * replicas, rate_per_s=options.rate * replicas)
        measure(f"{replicas} replicas", arrivals, make_prices(replicas=replicas))
    few = make_arrivals(300, rate_per_s=options.rate)
    prices = make_prices(replicas=1)
    fast = fastest_s(lambda: serve(few, prices, make_limits()), 3)
    slow = fastest_s(lambda: serve_reference(few, prices, make_limits()), 1)
    print(f"reference engine, 300 requests: {slow:.2f} s, {slow / fast:.0f} times the kernel's")


if __name__ == "__main__":
    main()
