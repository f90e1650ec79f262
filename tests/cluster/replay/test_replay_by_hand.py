"""The compiled engine: every rule once, with times that a hand can add up.

By default a link carries one byte a picosecond.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.collectives import FULL, Transfers
from cluster.replay.engine import replay
from cluster.replay.interface import Kind, Operations, Replayed

Program: TypeAlias = Callable[..., Operations]
TransferModel: TypeAlias = Callable[..., Transfers]
Row: TypeAlias = dict[str, Any]

NETWORK = 1


def call(rank: int, transfer: int = -1, group: int = 0, **more: Any) -> Row:
    return {
        "rank": rank,
        "stream": NETWORK,
        "kind": Kind.COLLECTIVE,
        "group": group,
        "transfer": transfer,
        **more,
    }


def send(rank: int, peer: int, transfer: int = -1, **more: Any) -> Row:
    return {
        "rank": rank,
        "peer": peer,
        "stream": NETWORK,
        "kind": Kind.SEND,
        "transfer": transfer,
        **more,
    }


def receive(rank: int, peer: int, **more: Any) -> Row:
    return {"rank": rank, "peer": peer, "stream": NETWORK, "kind": Kind.RECV, **more}


def work(rank: int, duration_ps: int, **more: Any) -> Row:
    return {"rank": rank, "duration_ps": duration_ps, **more}


def messages(program: Program, *sent: tuple[int, int]) -> Operations:
    """(time of departure, transfer) of messages, each between two ranks of its own."""
    rows = []
    for number, (start_ps, transfer) in enumerate(sent):
        here, there = 2 * number, 2 * number + 1
        rows.append(send(here, there, transfer, duration_ps=start_ps))
        rows.append(receive(there, here))
    return program(rows)


def ends(replayed: Replayed) -> list[int]:
    """When each message had arrived."""
    found: list[int] = replayed.end_ps[1::2].tolist()
    return found


def test_operations_of_a_stream_follow_one_another_and_wait_for_their_dependencies(
    program: Program, wires: TransferModel
) -> None:
    operations = program([work(0, 5), work(1, 8), work(0, 3, deps=[1]), work(1, 2, deps=[0])])

    replayed = replay(operations, wires())

    assert replayed.start_ps.tolist() == [0, 0, 8, 8]
    assert replayed.end_ps.tolist() == [5, 8, 11, 10]
    assert replayed.makespan_ps == 11


def test_communication_overlaps_the_work_that_does_not_wait_for_it(
    program: Program, wires: TransferModel
) -> None:
    operations = program(
        [
            work(0, 10),
            call(0, 0, deps=[0]),
            work(0, 50),  # beside the collective
            work(0, 1, deps=[1]),
            call(1),
        ],
        groups=[[0, 1]],
    )

    replayed = replay(operations, wires({"size_bytes": 100}))

    assert replayed.start_ps.tolist() == [0, 10, 10, 110, 0]
    assert replayed.end_ps.tolist() == [10, 110, 60, 111, 110]


def test_the_kth_call_matches_the_kth_on_any_streams(
    program: Program, wires: TransferModel
) -> None:
    operations = program(
        [call(0, 0), call(0, 1), call(1, stream=2, duration_ps=7), call(1, stream=3)],
        groups=[[0, 1]],
    )

    replayed = replay(operations, wires({"size_bytes": 100}, {"links": (1,), "size_bytes": 10}))

    assert replayed.matched_call.tolist() == [0, 1, 0, 1]
    assert replayed.begin_ps.tolist() == [7, 107]
    assert replayed.finish_ps.tolist() == [107, 117]
    assert replayed.end_ps.tolist() == [107, 117, 107, 117]


def test_a_send_waits_for_its_receiver_unless_that_is_passive(
    program: Program, wires: TransferModel
) -> None:
    def run(passive: int) -> list[int]:
        late = [send(0, 1, 0), work(1, 30), receive(1, 0, stream=0, passive=passive)]
        return [int(t) for t in replay(program(late), wires({"size_bytes": 100})).end_ps]

    assert run(passive=0) == [130, 30, 130]
    assert run(passive=1) == [100, 30, 100]


def test_a_passive_receiver_that_comes_late_has_its_message_at_once(
    program: Program, wires: TransferModel
) -> None:
    rows = [send(0, 1, 0), work(1, 300), receive(1, 0, stream=0, passive=1, duration_ps=4)]

    assert replay(program(rows), wires({"size_bytes": 100})).end_ps.tolist() == [100, 300, 304]


def test_tags_keep_messages_apart(program: Program, wires: TransferModel) -> None:
    rows = [
        send(0, 1, 0, tag=1),
        send(0, 1, 1, tag=2, stream=2),
        receive(1, 0, tag=2),
        receive(1, 0, tag=1, stream=2),
    ]

    replayed = replay(program(rows), wires({"size_bytes": 100}, {"links": (1,), "size_bytes": 10}))

    assert replayed.end_ps.tolist() == [100, 10, 10, 100]


def test_a_transfer_passes_its_latency_and_then_its_bytes(
    program: Program, wires: TransferModel
) -> None:
    replayed = replay(messages(program, (5, 0)), wires({"size_bytes": 100, "latency_ps": 20}))

    assert ends(replayed) == [5 + 20 + 100]


def test_latency_is_not_shared(program: Program, wires: TransferModel) -> None:
    """The second message is still on its way when the first leaves the link."""
    transfers = wires({"size_bytes": 100}, {"size_bytes": 100, "latency_ps": 100})

    assert ends(replay(messages(program, (0, 0), (0, 1)), transfers)) == [100, 200]


@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_n_messages_on_one_link_take_n_times_as_long(
    program: Program, wires: TransferModel, count: int
) -> None:
    operations = messages(program, *[(0, 0)] * count)

    replayed = replay(operations, wires({"size_bytes": 999_983}))

    np.testing.assert_allclose(ends(replayed), count * 999_983, atol=1)


def test_a_message_is_slowed_only_while_another_is_there(
    program: Program, wires: TransferModel
) -> None:
    """Alone to 40, two to 160 (60 bytes each), then the second has 40 left alone."""
    operations = messages(program, (0, 0), (40, 0))

    assert ends(replay(operations, wires({"size_bytes": 100}))) == [160, 200]


def test_each_of_many_arrivals_costs_at_most_a_picosecond(
    program: Program, wires: TransferModel
) -> None:
    """The last of n staggered messages ends when the link has carried all bytes."""
    operations = messages(program, *[(13 * k, 0) for k in range(50)])

    replayed = replay(operations, wires({"size_bytes": 9_973}))

    assert 50 * 9_973 <= replayed.makespan_ps <= 50 * 9_973 + 100


def test_disjoint_messages_do_not_know_of_each_other(
    program: Program, wires: TransferModel
) -> None:
    transfers = wires({"size_bytes": 101}, {"links": (1,), "size_bytes": 77})
    operations = messages(program, (0, 0), (3, 1), (20, 1), (21, 1))

    assert ends(replay(operations, transfers))[0] == 101


def test_a_long_way_gets_what_its_two_neighbours_leave(
    program: Program, shared_legs: TransferModel
) -> None:
    """Link 0 carries 1 byte/ps, link 1 two: the long flow gets 1/2, its neighbours 1/2 and 3/2.

    Work is what each leg takes alone: 1,000 bytes at 1, at 1 and at 2 bytes/ps.
    """
    transfers = shared_legs(
        {"work_ps": 1000, "peak": 1.0, "uses": {0: (FULL, 1000), 1: (FULL // 2, 1000)}},
        {"work_ps": 1000, "peak": 1.0, "uses": {0: (FULL, 1000)}},
        {"work_ps": 1500, "peak": 2.0, "uses": {1: (FULL, 3000)}},
    )

    replayed = replay(messages(program, (0, 0), (0, 1), (0, 2)), transfers)

    assert ends(replayed) == [2000, 2000, 2000]


def test_a_slow_sender_keeps_its_rate_and_others_share_the_rest(
    program: Program, shared_legs: TransferModel
) -> None:
    """A tenth of the link is all that the first can send; the others have 0.45 bytes/ps each."""
    tenth = FULL // 10
    transfers = shared_legs(
        {"work_ps": 1000, "peak": tenth / FULL, "uses": {0: (tenth, 100)}},
        {"work_ps": 450, "peak": 1.0, "uses": {0: (FULL, 450)}},
    )

    replayed = replay(messages(program, (0, 0), (0, 1), (0, 1)), transfers)

    assert ends(replayed) == [1000, 1000, 1000]


def test_legs_that_fit_together_leave_to_the_picosecond(
    program: Program, shared_legs: TransferModel
) -> None:
    half = {"work_ps": 999_999_937, "peak": 0.5, "uses": {0: (FULL // 2, 7)}}

    replayed = replay(messages(program, (3, 0), (17, 0)), shared_legs(half))

    assert ends(replayed) == [3 + 999_999_937, 17 + 999_999_937]


def test_a_transfer_goes_on_leg_by_leg(program: Program, wires: TransferModel) -> None:
    """Stored and forwarded: 100 at the first link, 5 + 100 at the second, shared there for 20."""
    transfers = wires(
        {"size_bytes": 100, "then": 1},
        {"links": (1,), "size_bytes": 100, "latency_ps": 5},
        {"links": (1,), "size_bytes": 10},
    )

    assert ends(replay(messages(program, (0, 0), (120, 2)), transfers)) == [215, 140]


def test_legs_that_use_nothing_take_their_time_and_no_more(
    program: Program, shared_legs: TransferModel
) -> None:
    transfers = shared_legs(
        {"latency_ps": 7, "work_ps": 10, "then": 1, "uses": {}},
        {"work_ps": 100, "uses": {0: (FULL, 100)}, "then": 2},
        {"latency_ps": 1, "work_ps": 0, "uses": {}},
    )

    assert ends(replay(messages(program, (0, 0)), transfers)) == [118]
    assert transfers.alone_ps().tolist() == [118, 101, 1]


def test_a_meeting_without_a_transfer_is_a_barrier(program: Program, wires: TransferModel) -> None:
    operations = program([call(0), call(1, duration_ps=9), call(2)], groups=[[0, 1, 2]])

    assert replay(operations, wires()).end_ps.tolist() == [9, 9, 9]


def test_without_contention_everybody_is_alone(program: Program, wires: TransferModel) -> None:
    operations = messages(program, (0, 0), (40, 0))

    replayed = replay(operations, wires({"size_bytes": 100}), contended=False)

    assert ends(replayed) == [100, 140]
    assert replayed.load_bytes.sum() == 200


def test_bytes_are_booked_when_they_move(program: Program, wires: TransferModel) -> None:
    """A byte a picosecond from 0.4 us on; half of it between 1 and 2.6 us, beside the second."""
    operations = messages(program, (400_000, 0), (1_000_000, 1))
    transfers = wires({"size_bytes": 1_500_000}, {"links": (0, 1), "size_bytes": 800_000})

    replayed = replay(operations, transfers)

    assert ends(replayed) == [2_700_000, 2_600_000]
    assert replayed.bin_ps == 1_000_000
    assert replayed.load_bytes.tolist() == [[600_000, 0], [1_000_000, 500_000], [700_000, 300_000]]


def test_bins_double_until_the_run_fits(program: Program, wires: TransferModel) -> None:
    operations = messages(program, (0, 0), (4_000_000, 0))

    replayed = replay(operations, wires({"size_bytes": 500_000}), most_bins=4)

    assert replayed.bin_ps == 2_000_000
    assert replayed.load_bytes.tolist() == [[500_000], [0], [500_000]]
