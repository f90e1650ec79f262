"""The tables of docs/studies/sessions-and-routing.md.

``python benchmarks/routing.py [TABLE ...]`` writes the named tables (by default all) between
``<!-- table NAME -->`` and ``<!-- end -->`` of the page; with ``--print`` it prints them. They need
the Mooncake trace beside the project.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.linear_prices import linear_prices
from cluster.scenario.routers import Router
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from workloads.prefix import block_keys
from workloads.requests import Requests
from workloads.trace import read_trace

ROOT = Path(__file__).resolve().parents[1]
MOONCAKE = ROOT.parent / "shared" / "data" / "traces" / "mooncake_conversation_trace.jsonl"
REPLICAS = 8
BUDGET = 2048
"""Tokens of a step."""
NO_ANSWER = 1
"""Tokens of an answer where only prompts matter."""


def endless(
    requests: Requests, router: Router, block_size: int, ps_per_token: int
) -> tuple[Arrivals, Served]:
    """Serve prompts with one token of answer on replicas whose caches evict nothing."""
    offsets, keys, key_count = block_keys(requests, block_size)
    count = len(requests)
    arrivals = Arrivals(
        arrival_ps=requests.arrival_ps,
        prompt_tokens=requests.prompt_tokens,
        output_tokens=np.full(count, NO_ANSWER, np.int64),
        router_choice=np.empty(0, np.int64),
        key_offsets=offsets,
        keys=keys,
        key_count=key_count,
    )
    limits = Limits(
        max_num_seqs=64,
        max_num_batched_tokens=BUDGET,
        block_size=block_size,
        blocks=int(np.sum(-(-requests.prompt_tokens // block_size))) // 4,
        max_model_len=2**20,
        router=router,
        prefix_caching=True,
    )
    work_ps = (np.arange(BUDGET + 1) * ps_per_token)[None, :]
    prices = linear_prices(work_ps, 64, np.zeros((REPLICAS, 1), np.int64))
    return arrivals, serve(arrivals, prices, limits)
