"""KV blocks in LPDDR: what steps fetch, what it costs, and what it makes room for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cluster.perf_model.attention import fetch_ps, measures_of, worked_ps
from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.prices import steady_decode
from cluster.perf_model.tables import STEP, Records
from cluster.scenario.load import load
from cluster.scenario.resolve import Resolved, resolve
from cluster.serving.arrivals import arrivals_of
from cluster.serving.engine import serve
from cluster.serving.reference import serve_reference
from cluster.serving.run import assemble


def resolved(
    kv: str, *, model: str = "llama-3.1-8b", prompt: int = 900, output: int = 20, **changes: Any
) -> Resolved:
    requested = {
        "model": model,
        "plan": {"tensor_parallel_size": 8},
        "memory": {"mode": "performance", "pin": {"kv": kv}},
        "scheduler": {"max_num_seqs": 8, "max_num_batched_tokens": 128},
        "workload": {
            "synthetic": {
                "requests": 10,
                "arrivals": {"concurrency": 8},
                "prompt_tokens": {"fixed": prompt},
                "output_tokens": {"fixed": output},
            }
        },
        **changes,
    }
    return resolve(load(requested))


def served(requested: Resolved, engine: Any = serve, **limits: Any) -> tuple[Any, Records]:
    machine, windows = assemble(requested), [np.zeros(0, STEP)]
    inputs = replace(machine.limits, **limits) if limits else machine.limits
    found = engine(
        arrivals_of(requested),
        machine.prices,
        inputs,
        on_steps=lambda rows: windows.append(rows.copy()),
    )
    return found, np.concatenate(windows)


def test_a_step_fetches_its_share_of_the_blocks_in_lpddr() -> None:
    _, steps = served(resolved("spill"), sram_blocks=40)
    decode = steps[(steps["prefill_tokens"] == 0) & (steps["used_blocks"] > 40)]

    assert len(decode)
    over = decode["used_blocks"] - 40
    blocks = decode["decode_blocks"] + 1  # up to 64 new tokens push one block out
    np.testing.assert_array_equal(decode["far_blocks"], -(-blocks * over // decode["used_blocks"]))
    assert not steps[steps["used_blocks"] <= 40]["far_blocks"].any()


@pytest.mark.parametrize(
    ("sram_units", "of_full", "of_windowed"), [(60, 85, 0), (24, 121, 0), (5, 121, 20)]
)
def test_blocks_inside_a_window_leave_sram_last(
    sram_units: int, of_full: int, of_windowed: int
) -> None:
    requested = resolved(
        "spill",
        model="gpt-oss-20b",
        output=100,
        formats={"weights": "mxint4"},
        plan={"tensor_parallel_size": 8, "expert_parallel_size": 8},
    )
    room = assemble(requested).limits.windowed
    assert room is not None
    assert room.block_units.tolist() == [[1, 1]]  # twelve layers of either kind

    _, steps = served(requested, windowed=replace(room, sram_units=sram_units))

    # 8 sequences of 15 blocks, of which windowed layers keep 3: 120 + 24 units. A step reads all
    # of them and writes a block of either kind.
    #   60 in SRAM: 84 of full layers outside, ceil(121 x 84 / 120) = 85
    #   24 in SRAM: all 120 outside, 121, and none of the others
    #    5 in SRAM: 19 of the others too, ceil(25 x 19 / 24) = 20
    eight = steps[(steps["tokens"] == 8) & (steps["used_blocks"] == 144)]
    assert len(eight)
    assert set(eight["decode_blocks"]) == {120}
    assert set(eight["decode_blocks_1"]) == {24}
    assert set(eight["far_blocks"]) == {of_full}
    assert set(eight["far_blocks_1"]) == {of_windowed}


def test_a_block_takes_the_time_of_its_bytes() -> None:
    prices = assemble(resolved("lpddr")).prices
    # 32 layers x 2 x 64 x 128 elements of 65/64 bytes on one chiplet: a KV head on each card,
    # whose blocks go round its 8 chiplets. At 50 GB/s x 0.8.
    block = 32 * 2 * 64 * 128 * 65 / 64 / 8
    fetched_ps = fetch_ps(prices.far_block_ps[0], measures_of(1, far_blocks=1000))
    assert fetched_ps == pytest.approx(1000 * block / 40e9 * 1e12, abs=1)


def test_fetching_ahead_hides_it_and_otherwise_it_adds() -> None:
    assert worked_ps(0, 100, 0, 40) == 140
    assert worked_ps(1, 100, 0, 40) == 100
    assert worked_ps(1, 100, 90, 40) == 130


def test_lpddr_makes_room_for_what_sram_refuses() -> None:
    # Beside 154 MB of weights 166 MB leave room for some 180 blocks: 12,000 tokens, not 60,000.
    small = {"chiplet.usable_sram_fraction": 0.65}
    scheduler = {"max_num_seqs": 2, "max_num_batched_tokens": 512}
    refused, _ = served(resolved("sram", prompt=60_000, scheduler=scheduler, hardware_set=small))
    taken, _ = served(resolved("spill", prompt=60_000, scheduler=scheduler, hardware_set=small))

    assert refused.status.all()
    assert not taken.status.any()


def test_the_reference_agrees() -> None:
    for kv, ahead in (("spill", 8e6), ("lpddr", 0.0)):
        requested = resolved(kv, hardware_set={"chiplet.prefetch_bytes": ahead})
        blocks = {"sram_blocks": 30} if kv == "spill" else {}
        ours, steps = served(requested, **blocks)
        theirs, expected = served(requested, serve_reference, **blocks)
        np.testing.assert_array_equal(steps, expected)
        np.testing.assert_array_equal(ours.finish_ps, theirs.finish_ps)


def test_steady_decode_prices_the_spill_as_the_engine_does() -> None:
    requested = resolved("spill", output=100, hardware_set={"chiplet.prefetch_bytes": 0.0})
    machine = assemble(requested)
    _, steps = served(requested, sram_blocks=20)
    eight = steps[
        (steps["tokens"] == 8) & (steps["prefill_tokens"] == 0) & (steps["finished"] == 0)
    ]
    row = eight[0]
    context = int(row["decode_blocks"]) * 64 // 8
    room = KvCapacity.of_blocks(machine.limits.blocks, 20), 64
    steady = steady_decode(machine.prices, batch=8, context=context, room=room)

    assert row["end_ps"] - row["start_ps"] == steady.slowest_stage_ps
    assert (
        steady.slowest_stage_ps
        > steady_decode(machine.prices, batch=8, context=context).slowest_stage_ps
    )
