from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.routing import ExpertTable, Routing, expert_table

ONE_RANK = Routing(experts=128, top_k=8, ranks=1, max_tokens=512, ridge=8)


def test_one_token_wakes_its_top_k() -> None:
    table = expert_table(ONE_RANK)

    assert (table.active[1], table.rows[1], table.busy[1]) == (8, 8, 8 * 8)


def test_no_expert_is_active_without_tokens() -> None:
    table = expert_table(ONE_RANK)

    assert (table.active[0], table.rows[0], table.busy[0]) == (0, 0, 0)


def test_one_rank_has_every_pair() -> None:
    assert expert_table(ONE_RANK).rows.tolist() == [8 * m for m in range(513)]


@pytest.mark.parametrize("tokens", [4, 16, 64])
def test_uniform_routing_wakes_as_many_experts_as_chance_says(tokens: int) -> None:
    expected = 128 * (1 - (1 - 8 / 128) ** tokens)

    assert expert_table(ONE_RANK).active[tokens] == pytest.approx(expected, rel=0.05)


def test_a_dense_choice_has_no_chance_in_it() -> None:
    table = expert_table(Routing(experts=4, top_k=4, ranks=2, max_tokens=20, ridge=8))

    assert table.active[1:].tolist() == [2] * 20
    assert table.rows.tolist() == [2 * m for m in range(21)]
    assert table.busy.tolist() == [0] + [2 * max(8, m) for m in range(1, 21)]


def test_skew_loads_the_hottest_rank() -> None:
    ranks = replace(ONE_RANK, ranks=8)
    even, skewed = expert_table(ranks), expert_table(replace(ranks, skew=1.0))

    assert skewed.rows[512] > 1.2 * even.rows[512]


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    def busy(seed: int) -> list[int]:
        expert_table.cache_clear()
        column: list[int] = expert_table(replace(ONE_RANK, seed=seed)).busy.tolist()
        return column

    assert busy(1) == busy(1)
    assert busy(1) != busy(2)


@settings(max_examples=25, deadline=None)
@given(
    per_rank=st.integers(1, 6),
    ranks=st.integers(1, 4),
    top_k=st.integers(1, 4),
    ridge=st.integers(1, 16),
    skew=st.sampled_from([0.0, 0.5, 1.5]),
)
def test_the_hottest_rank_carries_at_least_its_share(
    per_rank: int, ranks: int, top_k: int, ridge: int, skew: float
) -> None:
    experts = per_rank * ranks
    top_k = min(top_k, experts)
    table: ExpertTable = expert_table(
        Routing(experts=experts, top_k=top_k, ranks=ranks, max_tokens=40, ridge=ridge, skew=skew)
    )

    tokens = np.arange(41)
    assert (np.diff(table.busy) >= 0).all()
    assert (table.busy >= tokens * top_k / ranks - 0.5).all()
    assert (table.active <= per_rank).all()
    assert (table.rows <= tokens * min(top_k, per_rank)).all()
