from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.placement import PlacementError, place

Maps: TypeAlias = Callable[..., Any]


def test_two_stages_of_four_cards_take_one_switch_each(hand_map: Maps) -> None:
    cards = place(hand_map(8), tensor_parallel_size=4, pipeline_parallel_size=2)

    assert cards.dtype == np.int32
    assert cards.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]


def test_replicas_fill_servers_in_order(hand_map: Maps) -> None:
    cards = place(hand_map(24), tensor_parallel_size=2, pipeline_parallel_size=4)

    assert cards.reshape(3, 8).tolist() == np.arange(24).reshape(3, 8).tolist()


def test_groups_of_three_stay_under_one_switch_each_before_they_cross(hand_map: Maps) -> None:
    # Two switches of four: each has three free cards, and no switch is left with three.
    cards = place(hand_map(16), tensor_parallel_size=3, pipeline_parallel_size=5)

    assert cards[0, :4].tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10], [12, 13, 14]]
    assert set(cards[0, 4].tolist()) == {3, 7, 11}


def test_every_card_has_at_most_one_rank(hand_map: Maps) -> None:
    cards = place(hand_map(64), tensor_parallel_size=5, pipeline_parallel_size=3)

    assert cards.shape == (4, 3, 5)
    assert np.unique(cards).size == 60


def test_a_group_wider_than_a_server_takes_whole_servers(hand_map: Maps) -> None:
    cards = place(hand_map(32), tensor_parallel_size=16, pipeline_parallel_size=1, replicas=1)

    assert cards[0, 0].tolist() == list(range(16))


@pytest.mark.parametrize(
    ("replicas", "message"),
    [
        ("auto", "needs 16 cards .* the cluster has 8"),
        (2, "needs 32 cards .* the cluster has 8"),
        (0, "the cluster has 8"),
    ],
)
def test_a_plan_that_needs_more_cards_than_there_are_is_refused(
    hand_map: Maps, replicas: int | str, message: str
) -> None:
    with pytest.raises(PlacementError, match=message) as caught:
        place(hand_map(8), tensor_parallel_size=8, pipeline_parallel_size=2, replicas=replicas)

    assert caught.value.exit_code == 3


def test_a_stage_of_no_cards_is_refused(hand_map: Maps) -> None:
    with pytest.raises(PlacementError, match="at least 1, got 0 and 2"):
        place(hand_map(8), tensor_parallel_size=0, pipeline_parallel_size=2)
