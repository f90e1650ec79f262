from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.routing import ExpertTable, Routing, cold_table, expert_table

ONE_RANK = Routing(experts=128, top_k=8, ranks=1, max_tokens=512, ridge=8)


def test_one_token_wakes_its_top_k() -> None:
    table = expert_table(ONE_RANK)

    assert (table.active[1], table.rows[1], table.held[1]) == (8, 8, 8.0)


def test_no_expert_is_active_without_tokens() -> None:
    table = expert_table(ONE_RANK)

    assert (table.active[0], table.rows[0]) == (0, 0)


def test_one_rank_has_every_pair() -> None:
    assert expert_table(ONE_RANK).rows.tolist() == [8 * m for m in range(513)]


@pytest.mark.parametrize("tokens", [4, 16, 64])
def test_uniform_routing_wakes_as_many_experts_as_chance_says(tokens: int) -> None:
    expected = 128 * (1 - (1 - 8 / 128) ** tokens)
    drawn = expert_table(replace(ONE_RANK, skew=1e-9))

    assert expert_table(ONE_RANK).active[tokens] == round(expected)
    assert drawn.active[tokens] == pytest.approx(expected, rel=0.02)
    assert drawn.held[tokens] == pytest.approx(expert_table(ONE_RANK).held[tokens], rel=0.01)


def test_a_tile_waits_for_the_ridge_or_the_rows_of_its_expert() -> None:
    # One of two experts a token, ridge 2. Of three tokens an expert has none in 1/8 of all cases, 1
    # or 2 rows in 6/8 and 3 in 1/8: (2 x 6 + 3) / 7 where it has any.
    table = expert_table(Routing(experts=2, top_k=1, ranks=1, max_tokens=3, ridge=2))

    assert table.held[3] == pytest.approx(15 / 7)
    assert table.held[2] == 2.0
    assert table.active.tolist() == [0, 1, 2, 2]  # 2 x (1 - 1/4) and 2 x (1 - 1/8), rounded


def test_a_dense_choice_has_no_chance_in_it() -> None:
    table = expert_table(Routing(experts=4, top_k=4, ranks=2, max_tokens=20, ridge=8))

    assert table.active[1:].tolist() == [2] * 20
    assert table.rows.tolist() == [2 * m for m in range(21)]
    assert table.held.tolist() == [max(8.0, m) for m in range(21)]


def test_skew_loads_the_hottest_rank() -> None:
    ranks = replace(ONE_RANK, ranks=8)
    even, skewed = expert_table(ranks), expert_table(replace(ranks, skew=1.0))

    assert skewed.rows[512] > 1.2 * even.rows[512]


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    def held(seed: int) -> list[float]:
        expert_table.cache_clear()
        column: list[float] = expert_table(replace(ONE_RANK, ranks=2, seed=seed)).held.tolist()
        return column

    assert held(1) == held(1)
    assert held(1) != held(2)


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_a_longer_table_begins_as_a_shorter_one(ranks: int, skew: float) -> None:
    short = replace(ONE_RANK, ranks=ranks, skew=skew)
    long = replace(short, max_tokens=8192)

    for column in ("active", "rows", "held"):
        longer = getattr(expert_table(long), column)
        assert longer[:513].tolist() == getattr(expert_table(short), column).tolist()
    assert cold_table(long, 5)[:513].tolist() == cold_table(short, 5).tolist()


def test_every_rank_of_an_exchange_has_as_much_as_the_hottest() -> None:
    # 16 experts on 4 ranks, top 2: a token goes to 2 ranks, 32 x 2 / 4 = 16 tokens on each.
    ranks = Routing(experts=16, top_k=2, ranks=4, max_tokens=32, ridge=8, skew=1.5)
    table = expert_table(ranks)
    hottest = int(table.rows[32])

    assert hottest > 16
    assert table.crossing(32, 2, 4) == 4 * min(32, hottest)
    # One of four ranks for each choice of top 4: all tokens go everywhere, whatever the skew.
    everywhere = expert_table(replace(ranks, top_k=4))
    assert everywhere.crossing(32, 4, 4) == 4 * 32


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
    for column in (table.active, table.rows, table.held):
        assert (np.diff(column) >= 0).all()
    assert (table.held >= ridge).all()
    assert (table.rows >= tokens * top_k / ranks - 0.5).all()
    assert (table.active <= per_rank).all()
    assert (table.rows <= tokens * min(top_k, per_rank)).all()
