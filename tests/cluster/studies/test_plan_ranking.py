import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scenario.load import ScenarioError
from cluster.studies.plan.ranking import front, ranked, slo_of

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def test_the_front_is_what_nothing_beats_on_both_sides() -> None:
    user = np.array([9.0, 5.0, 5.0, 1.0, 2.0])
    card = np.array([1.0, 4.0, 3.0, 8.0, 7.0])
    among = np.array([True, True, True, False, True])

    assert front(user, card, among).tolist() == [True, True, False, False, True]


@given(POINTS)
def test_points_off_the_front_are_dominated_by_one_on_it(points: list[tuple[int, int]]) -> None:
    user = np.array([float(point[0]) for point in points])
    card = np.array([float(point[1]) for point in points])

    chosen = front(user, card, np.ones(len(points), np.bool_))

    for place in range(len(points)):
        as_good = chosen & (user >= user[place]) & (card >= card[place])
        better = as_good & ((user > user[place]) | (card > card[place]))
        assert better.any() != chosen[place] or as_good[:place].any()


def test_the_best_of_each_shape_comes_first_and_ties_take_the_smaller_one() -> None:
    columns = {
        "meets_slo": np.array([True, True, True, False]),
        "output_throughput": np.array([5.0, 7.0, 7.0, 9.0]),
        "cards": np.array([8, 8, 4, 8]),
        "max_num_seqs": np.array([1, 2, 3, 4]),
        "max_num_batched_tokens": np.array([64, 64, 64, 64]),
    }

    assert ranked(columns, "tokens_per_s").tolist() == [2, 1, 0]
    assert ranked(columns, "tokens_per_s", (np.array([0, 0, 1, 1]),)).tolist() == [2, 1]


def test_objectives_are_read_in_seconds() -> None:
    assert slo_of("tpot_s=0.01, ttft_s=2") == {"tpot_s": 0.01, "ttft_s": 2.0}


@pytest.mark.parametrize("words", ["tpot=1", "tpot_s", "tpot_s=nan", "tpot_s=-1", "ttft_s=x"])
def test_a_bound_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(ScenarioError, match="--slo"):
        slo_of(words)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(ScenarioError, match="unknown objective 'speed'"):
        ranked({}, "speed")
