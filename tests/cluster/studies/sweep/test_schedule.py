from hypothesis import given
from hypothesis import strategies as st

from cluster.studies.sweep.points import Point
from cluster.studies.sweep.schedule import Chunk, Schedule


def of(*groups: str) -> list[Point]:
    return [Point(number=n, run_id=str(n), machine_id=group) for n, group in enumerate(groups)]


def numbers(chunk: Chunk | None) -> list[int]:
    return [point.number for point in chunk.points] if chunk else []


def test_the_first_chunk_is_one_point_and_later_ones_last_half_a_second() -> None:
    schedule = Schedule(of(*"a" * 100), workers=1)
    first = schedule.next()
    assert first is not None
    schedule.done(first, 0.1)

    assert numbers(first) == [0]
    assert numbers(schedule.next()) == [1, 2, 3, 4, 5]


def test_while_a_cluster_is_assembled_other_points_go_first_and_it_is_shared() -> None:
    schedule = Schedule(of("a", "a", "b", "b"), workers=2)
    first, second, third = schedule.next(), schedule.next(), schedule.next()

    assert (numbers(first), numbers(second)) == ([0], [2])
    assert first is not None
    assert first.wanted == {"a"}
    assert numbers(third) == [1]  # nothing else is left: better twice than idle


def test_points_of_a_lost_chunk_are_tried_one_by_one() -> None:
    schedule = Schedule(of("a", "a"), workers=1)
    first = schedule.next()
    assert first is not None
    schedule.done(first, 0.01)
    second = schedule.next()
    assert second is not None
    schedule.again(second.points)

    again = schedule.next()
    assert again is not None
    assert again.alone
    assert numbers(again) == [1]
    assert schedule.next() is None


@given(
    st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=40),
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0.001, 2), st.booleans()), min_size=1, max_size=20),
)
def test_every_point_is_issued_once_under_any_failures(
    groups: list[str], workers: int, fates: list[tuple[float, bool]]
) -> None:
    schedule, given_out, flying, turn = Schedule(of(*groups), workers), [], list[Chunk](), 0
    while len(schedule) or flying:
        while len(flying) < workers and (chunk := schedule.next()) is not None:
            flying.append(chunk)
        chunk = flying.pop(0)
        seconds, lost = fates[turn % len(fates)]
        turn += 1
        if lost and not chunk.alone:
            schedule.again(chunk.points)
        else:
            schedule.done(chunk, seconds)
            given_out += numbers(chunk)

    assert sorted(given_out) == list(range(len(groups)))
