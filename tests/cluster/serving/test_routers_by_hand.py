"""Each router uses the load of its name, and ties rotate."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.tables import PriceTables
from cluster.scenario.routers import WEIGHTS
from cluster.serving.interface import Arrivals, Limits, Served

Engine: TypeAlias = Callable[..., Served]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]

MS = 10**9


@pytest.mark.parametrize(
    ("router", "replicas"),
    [
        ("round_robin", [0, 1, 0, 1, 0]),
        ("random", [1, 1, 0, 1, 1]),
        # unfinished before each: 0 0, 1 0, 1 0, 1 1 (the turn of 0), 2 1
        ("least_outstanding", [0, 1, 1, 0, 1]),
        # blocks before each: 0 0, 0 0 (the turn of 1), 5 0, 5 1, 5 1: what has not been admitted
        # holds none
        ("least_kv", [0, 1, 1, 1, 1]),
        # requests sent since the last snapshot: 0 0, 1 0, 1 1 (the turn of 0), 2 1, 2 2 (of 0)
        ("vllm_dp", [0, 1, 0, 1, 0]),
    ],
)
def test_each_router_uses_the_load_of_its_name(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    router: str,
    replicas: list[int],
) -> None:
    # A step lasts 10, a block has 2 tokens. The first request holds four blocks from 0, five from
    # 10, and stays; the second holds one until 10.
    tables = constant_tables(stage_ps=[10], replicas=2)
    arrivals = make_arrivals((0, 8, 20), (0, 2, 1), (15, 2, 20), (16, 2, 20), (17, 2, 20))
    arrivals = replace(arrivals, router_choice=np.array([1, 1, 0, 1, 1]))

    served = engine(arrivals, tables, replace(roomy, router=router))

    assert served.replica.tolist() == replicas


@pytest.mark.parametrize("router", ["least_outstanding", "least_kv"])
def test_ties_go_to_the_next_in_turn(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    router: str,
) -> None:
    # A step lasts 10; requests 100 apart find all idle but replica 0, where the first stays.
    tables = constant_tables(stage_ps=[10], replicas=4)
    arrivals = make_arrivals((0, 2, 99), *[(100 * i, 2, 1) for i in range(1, 8)])

    served = engine(arrivals, tables, replace(roomy, router=router))

    assert served.replica.tolist() == [0, 1, 2, 3, 1, 2, 3, 1]


def test_vllms_router_knows_what_was_true_at_the_last_100_ms(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # Steps of 300 ms, one request at a time on each of two replicas, ten blocks each. The score is
    #
    #   max(unfinished, waiting + running) + 6 x waiting x max(0, used - 0.5)
    #
    # with waiting, running and the used part of the KV as of the last whole 100 ms; to waiting is
    # added what has been routed there since. Ties go to the replica (request number mod 2).
    #
    #   ms  request  scores                                              goes to
    #    0     0     0, 0                                                0 (a tie), for 6 blocks
    #    1     1     max(1, 1) = 1, 0                                    1, for 1
    #    2     2     1, 1                                                0 (a tie)
    #    3     3     max(2, 2) = 2, 1                                    1
    #  100           each has one waiting and one running; used 0.6 and 0.1
    #  150     4     2 + 6 x 1 x 0.1 = 2.6, 2                            1
    #  160     5     2.6, max(3, 2 + 1) = 3                              0
    #  170     6     3 + 6 x 2 x 0.1 = 4.2, 3                            1
    #  200           2 and 3 waiting, one running each
    #  250     7     3 + 6 x 2 x 0.1 = 4.2, 4                            1
    #  300           2 and 4 waiting, one running each (before its end)
    #  305     8     2 unfinished, 0.1 used, but it counts 4.2, 5        0
    #  390     9     4 + 6 x 3 x 0.1 = 5.8, 5                            1
    #  400           2 and 4 waiting, one running each, used 0.1 each
    #  410    10     3, 5                                                0
    #  420    11     4, 5                                                0
    #  430    12     5, 5                                                0 (a tie)
    limits = replace(roomy, max_num_seqs=1, blocks=10, router="vllm_dp")
    later_ms = (1, 2, 3, 150, 160, 170, 250, 305, 390, 410, 420, 430)
    arrivals = make_arrivals((0, 12, 1), *[(ms * MS, 2, 1) for ms in later_ms])

    served = engine(arrivals, constant_tables(stage_ps=[300 * MS], replicas=2), limits)

    assert served.replica.tolist() == [0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("weight", "replicas"),
    [
        # Dynamo's cost is weight x (tokens to compute / 2) + blocks of unfinished prompts.
        #
        #  at  prompt's blocks  replica 0               replica 1                goes to
        #   0  0 1              2 + 2                   2 + 2                    0 (a tie)
        #  20  0 1              0 + |0 1| = 2           2 + 2                    0
        #  40  0 5              1 + |0 1 5| = 4         2 + 2 = 4                1 (its turn)
        #  41  6 7              2 + |0 1 6 7| = 6       (4 + 4) / 2 + |0 5 6 7|  0
        #  61  8 9              2 + |0 1 6 7 8 9| = 8   2 + |0 5 8 9| = 6        1
        (1.0, [0, 0, 1, 0, 1]),
        #  40: 2 + 3 = 5 against 4 + 2; 41: 4 + 2 + |0 1 5 6 7| = 11 against 4 + 2;
        #  61: 4 + |0 1 5 8 9| = 9 against 4 + |6 7 8 9| = 8
        (2.0, [0, 0, 0, 1, 1]),
        #  Blocks only. 20: 2 and 2, the turn of 1; 40: 3 and 3, of 0; 41: 5 of 0 1 5 6 7 and 4 of
        #  0 1 6 7; 61: 5 of 0 1 5 8 9 and 6 of 0 1 6 7 8 9
        (0.0, [0, 1, 0, 1, 0]),
    ],
)
def test_kv_overlap_weighs_tokens_to_compute_against_blocks_in_use_as_dynamo_does(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    weight: float,
    replicas: list[int],
) -> None:
    arrivals = make_arrivals(
        *[(at, 4, 20) for at in (0, 20, 40, 41, 61)],
        keys=((0, 1), (0, 1), (0, 5), (6, 7), (8, 9)),
    )
    limits = replace(
        roomy, router="kv_overlap", router_weights=(weight,), prefix_caching=True, max_num_seqs=8
    )

    served = engine(arrivals, constant_tables(stage_ps=[10], replicas=2), limits)

    assert served.replica.tolist() == replicas


@pytest.mark.parametrize(
    ("weights", "replicas"),
    [
        # One request runs at a time; after 20 ps it holds 3 of 100 blocks. llm-d's scores are
        # cached part of the prompt, place between the longest queue and the shortest, and free KV:
        #
        #  at  prompt's blocks  replica 0                  replica 1        goes to
        #   0  0 1              0 + 2 + 2                  0 + 2 + 2        0 (a tie)
        #  20  0 1              3 + 2 + 2 x 0.97 = 6.94    0 + 2 + 2        0
        #  21  0 1              3 + 0 + 1.94 = 4.94        0 + 2 + 2        0
        #  22  0 9              1.5 + 0 + 1.94 = 3.44      0 + 2 + 2        1
        (WEIGHTS["weighted_scorers"], [0, 0, 0, 1]),
        #  21: 1 + 0 + 1.94 against 4, where it runs; 22: 0.5 + 0 + 1.94 against 0.5 + 2 + 1.96
        ((1.0, 2.0, 2.0), [0, 0, 1, 1]),
        #  20: only free KV counts
        ((0.0, 0.0, 2.0), [0, 1, 1, 1]),
    ],
)
def test_weighted_scorers_add_up_prefix_queue_and_free_kv_as_llm_d_does(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    weights: tuple[float, ...],
    replicas: list[int],
) -> None:
    arrivals = make_arrivals(
        *[(at, 4, 20) for at in (0, 20, 21, 22)], keys=((0, 1), (0, 1), (0, 1), (0, 9))
    )
    limits = replace(
        roomy,
        router="weighted_scorers",
        router_weights=weights,
        prefix_caching=True,
        max_num_seqs=1,
    )

    served = engine(arrivals, constant_tables(stage_ps=[10], replicas=2), limits)

    assert WEIGHTS["weighted_scorers"] == (3.0, 2.0, 2.0)
    assert served.replica.tolist() == replicas
