import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.actors.placement import PackingError, auto_cards_per_actor, pack


@pytest.mark.parametrize(
    ("cards", "cpus", "each"),
    [(1, 1, 1), (8, 2, 1), (9, 2, 2), (64, 2, 8), (64, 16, 1), (65, 16, 2), (2048, 2, 256)],
)
def test_auto_is_the_smallest_power_of_two_with_few_actors(
    cards: int, cpus: int, each: int
) -> None:
    assert auto_cards_per_actor(cards, cpus) == each


def test_actors_smaller_than_a_server_stay_inside_it() -> None:
    packing = pack({0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1}, 2, cpus=1)

    assert packing.actors == ((0, 1), (2,), (3, 4), (5,))
    assert packing.bundles == (0, 0, 1, 1)


def test_actors_as_large_as_a_server_may_hold_cards_of_several() -> None:
    packing = pack({0: 0, 1: 0, 5: 3, 6: 3, 9: 4}, 4, cpus=1)

    assert packing.actors == ((0, 1, 5, 6), (9,))
    assert packing.bundles == (0, 1)


@given(
    servers=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    each=st.integers(1, 20) | st.just("auto"),
)
def test_every_card_has_one_actor_and_actors_keep_the_order_of_the_map(
    servers: list[int], each: int
) -> None:
    where = dict(enumerate(server for server, cards in enumerate(servers) for _ in range(cards)))
    packing = pack(where, each, cpus=1)

    assert [card for cards in packing.actors for card in cards] == list(where)
    assert max(map(len, packing.actors)) <= packing.cards_per_actor
    assert list(packing.actor_of) == list(where)
    assert all(card in packing.actors[actor] for card, actor in packing.actor_of.items())
    for cards, bundle in zip(packing.actors, packing.bundles, strict=True):
        assert packing.bundles[packing.actor_of[cards[0]]] == bundle


@pytest.mark.parametrize("each", [0, -1])
def test_less_than_one_card_per_actor_is_refused(each: int) -> None:
    with pytest.raises(PackingError, match=f"auto or at least 1, got {each}") as caught:
        pack({0: 0}, each, cpus=1)

    assert caught.value.exit_code == 2
