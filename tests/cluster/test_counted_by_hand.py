"""Figures of a run that nothing else depends on, counted by hand from the published shapes.

Llama-3.1-8B: hidden 4,096, 32 layers of 32 query and 8 KV heads of 128, 14,336 in the MLP, a
vocabulary of 128,256. MXINT8: 65 bytes for 64 values.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import load, replay_trace, simulate
from cluster.scenario.resolve import resolve
from cluster.serving.run import assemble
from cluster.serving.tables import placement_table
from workloads.program import program_of
from workloads.program.file import write_program

PIPELINE: dict[str, Any] = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
LAYER = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336
"""Parameters: q and o, k and v, gate, up and down."""
VOCABULARY = 128_256 * 4096
"""Of the embedding, and as many of the LM head."""


def scenario(**changes: Any) -> dict[str, Any]:
    traffic = {
        "requests": 11,
        "arrivals": {"constant": {"rate_per_s": 20.0}},
        "prompt_tokens": {"fixed": 512},
        "output_tokens": {"fixed": 64},
    }
    return {
        "model": "llama-3.1-8b",
        "plan": PIPELINE,
        "workload": {"synthetic": traffic},
        **changes,
    }


def test_every_sequence_keeps_an_fp16_tail_of_v_on_each_card() -> None:
    requested = scenario(scheduler={"max_num_seqs": 24})
    machine = assemble(resolve(load(requested)))

    table = placement_table(machine)

    # A card has 2 KV heads in 16 layers. A block of 64 x 128 values is 8,320 B in MXINT8 and
    # 16,384 B in FP16; the pool has K and V of every block, a tail what V takes more.
    heads = 2 * 16
    held = {
        kind: table["bytes"][table["tensor_class"] == kind].tolist() for kind in ("kv", "kv_tail")
    }
    assert held["kv_tail"] == [24 * heads * (16_384 - 8_320)] * 8
    assert held["kv"] == [machine.limits.blocks * heads * 2 * 8_320] * 8


@pytest.mark.parametrize(
    ("changes", "per_switch", "values", "norms"),
    [
        # Stage 1 is the fuller: a quarter of 16 layers and of the head, 33 norms.
        ({}, 4, (16 * LAYER + VOCABULARY) // 4, 33),
        # Two cards, half of everything on either: the switch serves no more than these.
        (
            {
                "plan": {"tensor_parallel_size": 2},
                "cluster": {"cards_per_server": 2},
                "memory": {"mode": "capacity", "load": "host"},
            },
            2,
            (32 * LAYER + 2 * VOCABULARY) // 2,
            65,
        ),
    ],
    ids=["8 cards", "2 cards"],
)
def test_a_host_sends_the_weights_of_all_cards_of_a_switch_through_one_port(
    changes: dict[str, Any], per_switch: int, values: int, norms: int
) -> None:
    requested = scenario(**{"memory": {"load": "host"}, **changes})

    ready_ps = assemble(resolve(load(requested))).limits.ready_ps

    # MXINT8, and norms of FP16 on each of 8 chiplets, at 64 GB/s x 0.85.
    card_bytes = values * 65 // 64 + norms * 4096 * 2 * 8
    assert ready_ps == round(per_switch * card_bytes / (64e9 * 0.85) * 1e12)


def test_no_step_starts_before_the_weights_are_there() -> None:
    run = simulate(load(scenario(memory={"load": "host"})))

    assert run.outcome.served.first_scheduled_ps[0] == run.machine.limits.ready_ps > 0


def test_latency_through_a_switch_is_put_down_to_the_switch(tmp_path: Path) -> None:
    # Cards 0 and 1 send a byte each to cards 2 and 3 under their switch, as 4 and 5 do to 6 and 7
    # under theirs. Links last 325 ns, here those into a switch twice as much. A link that leaves a
    # switch stands for the way through it, 650 + 325 ns, and is longer than the one into it.
    program = {
        "rank": list(range(8)),
        "kind": ["send", "send", "recv", "recv"] * 2,
        "stream": [3, 3, 4, 4] * 2,
        "peer": [2, 3, 0, 1, 6, 7, 4, 5],
        "payload_bytes": [1] * 8,
        "phase": ["decode"] * 8,
        "tag": [7] * 8,
    }
    path = tmp_path / "program.parquet"
    write_program(path, program_of(program, []))
    run = replay_trace(
        {
            "model": "llama-3.1-8b",
            "plan": PIPELINE,
            "links": [{"match": "s0.c*>s0.sw*", "latency_scale": 2.0}],
            "workload": {"program": str(path)},
        }
    )

    assert run.summary["critical_share"]["latency"] > 0.99
    assert run.waits == {"s0.sw0": 1.0}
    assert np.all(run.outcome.replayed.end_ps >= 975_000)
