"""``vllm_dp`` chooses what vLLM's own client chose in the same situation.

Recorded: vLLM 0.33.0, ``DPLBAsyncMPClient.get_core_engine_for_request`` (one client), called with
the counts below. Over 49,821 choices in 600 random sequences of routing, finishing and snapshots
both engines' formula made the same ones.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.compiled import called
from cluster.perf_model.tables import PriceTables
from cluster.serving.interface import Arrivals, Limits
from cluster.serving.kernel.arrive import choose_replica
from cluster.serving.kernel.build import build
from cluster.serving.kernel.state import State
from cluster.serving.reference.router import Load, Router

ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]
Situation: TypeAlias = tuple[int, int, tuple[tuple[int, int, int, int], ...], int]

SITUATIONS: list[Situation] = [
    # blocks of a replica, first to be scanned,
    # (waiting, running, blocks used, in flight) of each, vLLM's choice
    (10, 0, ((0, 0, 0, 0),) * 4, 0),
    (10, 3, ((0, 0, 0, 0),) * 4, 3),
    # 2, 1; a full replica without a queue has no penalty
    (10, 0, ((0, 2, 10, 2), (1, 0, 0, 1)), 1),
    # 2, 2 + 3, 2: half full is not penalised yet
    (10, 1, ((1, 1, 5, 2), (1, 1, 10, 2), (2, 0, 5, 2)), 2),
    # 4, 2 + 3
    (10, 0, ((3, 1, 5, 4), (1, 1, 10, 2)), 0),
    # 3 + 4.8, 7
    (10, 0, ((2, 1, 9, 3), (0, 7, 10, 7)), 1),
    # 4 + 4.8, 9
    (10, 0, ((2, 2, 9, 4), (0, 9, 10, 9)), 0),
    # 5 in flight beat 1 counted; then 4 against 5 counted
    (10, 0, ((0, 1, 1, 5), (2, 2, 2, 4)), 1),
    (10, 0, ((0, 1, 1, 4), (2, 3, 2, 3)), 0),
    (10, 1, ((4, 4, 4, 2), (0, 0, 0, 7)), 1),
    # Equal in exact numbers, not in floating point: 2 + 12 (8/12 - 1/2) = 4 = 4 in flight, ...
    (12, 0, ((2, 0, 8, 2), (4, 4, 12, 8), (4, 0, 3, 4)), 2),
    (3, 2, ((4, 5, 2, 9), (0, 3, 3, 3), (1, 1, 2, 2)), 1),
    (3, 1, ((1, 5, 1, 6), (3, 0, 2, 3), (4, 4, 0, 8)), 0),
    (3, 2, ((4, 0, 2, 4), (3, 5, 1, 8), (3, 2, 2, 5)), 1),
    (12, 0, ((5, 0, 8, 5), (2, 4, 10, 6)), 1),
    (12, 0, ((3, 5, 8, 8), (4, 5, 7, 9)), 1),
    (12, 0, ((2, 4, 1, 6), (4, 0, 7, 4), (4, 1, 8, 5)), 1),
]


@called
def chosen(state: State) -> int:
    """What the kernel's router chooses."""
    return choose_replica(state, 0)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_reference_chooses_as_vllms_client(situation: Situation) -> None:
    room, first, counts, choice = situation
    replicas: list[Any] = [
        SimpleNamespace(number=number, unfinished=in_flight, pulling=0)
        for number, (_, _, _, in_flight) in enumerate(counts)
    ]
    router = Router("vllm_dp", replicas)
    router.routed = first
    router.loads = [
        Load(waiting, running, 1.0 - (room - used) / room) for waiting, running, used, _ in counts
    ]
    request: Any = None  # only ``random`` looks at it

    assert router.choose(request).number == choice
    # As with vLLM's client the next scan starts one further on, and the chosen one has one more.
    assert router.routed == first + 1
    assert router.loads[choice].waiting == counts[choice][0] + 1


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_kernel_chooses_as_vllms_client(
    situation: Situation,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
) -> None:
    room, first, counts, choice = situation
    limits = Limits(
        max_num_seqs=4,
        max_num_batched_tokens=16,
        block_size=2,
        blocks=room,
        max_model_len=1000,
        router="vllm_dp",
    )
    tables = constant_tables(stage_ps=[10], replicas=len(counts))
    state = build(make_arrivals((0, 1, 1)), tables, limits)
    state.control["routed"] = first
    names = ("seen_waiting", "seen_running", "seen_used", "outstanding")
    for name, column in zip(names, np.array(counts).T, strict=True):
        state.replicas[name] = column

    assert chosen(state) == choice
