"""Pools, and the transfers between them, that can be followed with a pencil; for both engines."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.disaggregated.loop import PoolsServed, serve_pools
from cluster.disaggregated.reference import serve_pools_reference
from cluster.disaggregated.transfer_plan import TransferPlan
from cluster.perf_model.collectives import Resources
from cluster.perf_model.collectives.point_to_point import PairPaths
from cluster.perf_model.kv_transfer_map import KvShares
from cluster.perf_model.tables import PriceTables
from cluster.serving.interface import Arrivals, Limits

ConstantTables: TypeAlias = Callable[..., PriceTables]
STEP_PS, DECODE_PS, LATENCY_PS = 1000, 100, 10
LAYERS = 4
BLOCK_BYTES = 800
"""Of 64 tokens in all layers, over a link of one byte a picosecond."""


def one_link(prompts: list[int], *, layerwise: bool = False) -> TransferPlan:
    """Two cards and a link; KV of prompts is one message each, of whole blocks of 64 tokens."""
    column = np.array
    shares = KvShares(
        source_stage=column([0]),
        source_position=column([0]),
        target_stage=column([0]),
        target_position=column([0]),
        windows=column([0]),
        block_bytes=column([[BLOCK_BYTES]]),
        tail_bytes=column([0]),
        first_layer=column([0]),
        layers=column([LAYERS]),
    )
    count = len(prompts)
    kv: Any = SimpleNamespace(shares=shares, layers=LAYERS, cards=(column([[[0]]]),) * 2)
    return TransferPlan(
        kv=kv,
        resources=Resources(name=column(["link"]), capacity_bytes_per_s=column([1e12]), links=1),
        paths=PairPaths(
            latency_ps=column([LATENCY_PS]),
            slowest=column([0]),
            offsets=column([0, 1]),
            links=column([0]),
        ),
        layerwise=layerwise,
        base_ps=0,
        prompt_tokens=column(prompts),
        kind=np.unique(column(prompts), return_inverse=True)[1],
        drawn=np.zeros(count, np.int64),
        before_ps=np.zeros(count, np.int64),
        after_ps=np.zeros(count, np.int64),
    )


@pytest.fixture(params=[serve_pools_reference, serve_pools], ids=["reference", "kernel"])
def serve(
    request: pytest.FixtureRequest, constant_tables: ConstantTables
) -> Callable[..., PoolsServed]:
    """Two replicas of one stage: any step of the first takes STEP_PS, of the other DECODE_PS."""

    def run(
        *requests: tuple[int, int, int], blocks: tuple[int, int], layerwise: bool = False
    ) -> PoolsServed:
        limits = Limits(
            max_num_seqs=4,
            max_num_batched_tokens=128,
            block_size=64,
            blocks=blocks[0],
            max_model_len=1000,
        )
        arrival, prompt, output = np.array(requests, np.int64).T.copy()
        none = np.zeros(0, np.int64)
        arrivals = Arrivals(
            arrival_ps=arrival,
            prompt_tokens=prompt,
            output_tokens=output,
            router_choice=np.zeros(len(requests), np.int64),
            key_offsets=np.zeros(len(requests) + 1, np.int64),
            keys=none,
            key_count=0,
        )
        prompts = replace(arrivals, output_tokens=np.ones(len(requests), np.int64))
        answers = replace(arrivals, carried_tokens=arrivals.prompt_tokens - 1)
        plan = one_link([prompt for _, prompt, _ in requests], layerwise=layerwise)
        tables = [constant_tables(stage_ps=[each], budget=128) for each in (STEP_PS, DECODE_PS)]
        found: PoolsServed = request.param(
            (
                (prompts, tables[0], limits),
                (answers, tables[1], replace(limits, blocks=blocks[1])),
            ),
            plan,
            most_bins=2,
            on_window=lambda *_: None,
        )
        return found

    return run


def test_a_request_takes_its_prefill_the_way_of_its_kv_and_its_decode(
    serve: Callable[..., PoolsServed],
) -> None:
    # 100 tokens are two blocks, 1,600 bytes: 1000 + 10 + 1600 = 2610; then three steps of 100.
    found = serve((0, 100, 3), blocks=(2, 2))

    assert found.pools[0].finish_ps.tolist() == [1000]
    assert found.received_ps.tolist() == [2610]
    assert found.pools[1].first_token_ps.tolist() == [2710]
    assert found.pools[1].finish_ps.tolist() == [2910]


def test_two_transfers_share_a_link_until_the_shorter_has_ended(
    serve: Callable[..., PoolsServed],
) -> None:
    # Both prompts are one step. From 1010 each has half of the link: 800 bytes of both have crossed
    # at 2610; the 800 left of the second then have all of it.
    found = serve((0, 60, 1), (0, 68, 1), blocks=(9, 9))

    assert found.received_ps.tolist() == [2610, 3410]


def test_a_full_decode_pool_holds_transfers_and_these_hold_the_prefill_pool(
    serve: Callable[..., PoolsServed],
) -> None:
    # Prompts of two blocks and a step; the decode pool has room for one of them, the prefill pool
    # for two, which it keeps until their KV (1610 ps) is away. As in vLLM's NixlConnector.
    #
    #   prefill        blocks of the prefill pool    KV moves       decode
    #   0: 0 - 1000    free at 2610                  1000 - 2610    2610 - 2710
    #   1: 1000 - 2000 free at 4320                  2710 - 4320    4320 - 4420
    #   2: 2610 - 3610, once 0's blocks are free     4420 - 6030    6030 - 6130
    #   3: 4320 - 5320, once 1's are                 6130 - 7740    7740 - 7840
    found = serve(*[(0, 128, 1)] * 4, blocks=(4, 2))

    assert found.pools[0].first_scheduled_ps.tolist() == [0, 1000, 2610, 4320]
    assert found.pulled_ps.tolist() == [1000, 2710, 4420, 6130]
    assert found.received_ps.tolist() == [2610, 4320, 6030, 7740]
    assert found.pools[1].finish_ps.tolist() == [2710, 4420, 6130, 7840]


def test_kv_follows_its_layers_where_blocks_are_there_in_time(
    serve: Callable[..., PoolsServed],
) -> None:
    # Of 800 bytes three layers cross evenly in the 750 ps from the first layer to the end, 10 late,
    # then the last: 250 + 10 + 750 + 200. Blocks that are not there when the step starts (the other
    # prompt has them to 1310): all goes after the prefill, 2000 + 10 + 800.
    alone = serve((0, 60, 1), blocks=(9, 1), layerwise=True)
    waits = serve((0, 60, 1), (1, 60, 1), blocks=(9, 1), layerwise=True)

    assert alone.received_ps.tolist() == [1210]
    assert waits.received_ps.tolist() == [1210, 2810]


def test_a_chunk_contends_with_what_is_left_of_the_one_before(
    serve: Callable[..., PoolsServed],
) -> None:
    # The first chunk's 1,200 + 400 bytes from 260 on at full rate; from 1260 the second's 600, at
    # no more than 0.8, so half and half: the first has sent its layers at 1660, its last one at
    # 2460, and so has the second its first three; 200 bytes follow.
    found = serve((0, 192, 1), blocks=(9, 9), layerwise=True)

    assert found.received_ps[0] == pytest.approx(2660, abs=2)
