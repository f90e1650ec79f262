"""A collective becomes its messages and the rest of the program does not notice."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.collectives import Messages, Transfers
from cluster.replay.engine import replay
from cluster.replay.expand import expand
from cluster.replay.interface import Kind, Operations, ReplayError

Program: TypeAlias = Callable[..., Operations]
TransferModel: TypeAlias = Callable[..., Transfers]

SWAP = Messages(
    round=np.array([0, 0, 1]),
    source=np.array([0, 1, 0]),
    target=np.array([1, 0, 1]),
    transfer=np.array([0, 1, 2]),
    after_ps=np.zeros(2, np.int64),
)
"""Both send at once, then the first once more."""


def call(rank: int, **more: Any) -> dict[str, Any]:
    return {"rank": rank, "stream": 1, "kind": Kind.COLLECTIVE, "group": 0, "transfer": 3, **more}


@pytest.fixture
def links(wires: TransferModel) -> Transfers:
    """Messages of 10, 20 and 100 ps, each over a link of its own; number 3 is the collective."""
    sizes = [10, 20, 100, 5]
    return wires(*({"links": (link,), "size_bytes": size} for link, size in enumerate(sizes)))


def test_a_rank_goes_on_when_its_own_messages_have_come_and_gone(
    program: Program, links: Transfers
) -> None:
    rows = [{"duration_ps": 3}, call(0, deps=[0]), {"deps": [1]}, call(1), {"rank": 1, "deps": [3]}]
    expanded = expand(program(rows, groups=[[0, 1]]), {3: SWAP})

    replayed = replay(expanded.operations, links)

    assert replayed.start_ps[expanded.entry].tolist() == [0, 3, 120, 0, 120]
    # Rank 1 sends at 0, rank 0 at 3; round 1 begins when both of rank 0's are over, at 20.
    assert replayed.end_ps[expanded.exit].tolist() == [3, 120, 120, 120, 120]


def test_everything_that_is_not_in_a_plan_stays_as_it_was(
    program: Program,
) -> None:
    rows = [
        {"duration_ps": 4},
        {"kind": Kind.SEND, "peer": 1, "transfer": 0, "tag": 9, "deps": [0]},
        call(0, transfer=2),
        {"rank": 1, "kind": Kind.RECV, "peer": 0, "tag": 9, "passive": 1},
        call(1, transfer=-1),
    ]
    operations = program(rows, groups=[[0, 1]])

    expanded = expand(operations, {3: SWAP})

    assert expanded.entry.tolist() == expanded.exit.tolist() == [0, 1, 2, 3, 4]
    for name in Operations.__slots__:
        before, after = getattr(operations, name), getattr(expanded.operations, name)
        np.testing.assert_array_equal(after, before, err_msg=name)


def test_calls_of_two_streams_do_not_hold_each_other_up(program: Program, links: Transfers) -> None:
    """The ranks make the same two calls in different order, on streams of their own."""
    first = [call(0), call(0, stream=2, tag=1), call(1, stream=2, tag=1), call(1)]
    expanded = expand(program(first, groups=[[0, 1]]), {3: SWAP})

    replayed = replay(expanded.operations, links)

    # Two calls share every link from the start: 20, then 40, and 100 + 100 on the third.
    assert replayed.end_ps[expanded.exit].tolist() == [240] * 4


def test_positions_are_those_of_the_call_s_own_group(program: Program, links: Transfers) -> None:
    """A second group of the same ranks, and a third of others."""
    rows = [call(rank, group=1) for rank in (0, 1)] + [call(rank, group=2) for rank in (2, 3)]
    expanded = expand(program(rows, groups=[[0, 1], [0, 1], [2, 3]]), {3: SWAP})

    replayed = replay(expanded.operations, links)

    # Both groups share every link: 20, then 40, and 100 + 100 on the third.
    assert replayed.end_ps[expanded.exit].tolist() == [240] * 4


def test_a_call_of_one_plan_follows_another_on_the_same_stream(
    program: Program, links: Transfers
) -> None:
    rows = [call(rank, transfer=transfer) for transfer in (3, 3, 2) for rank in (1, 0)]
    expanded = expand(program(rows, groups=[[0, 1]]), {3: SWAP})

    replayed = replay(expanded.operations, links)

    assert replayed.end_ps[expanded.exit].tolist() == [120, 120, 240, 240, 340, 340]


def test_a_call_without_all_ranks_cannot_become_messages(program: Program) -> None:
    for rows in ([call(0)], [call(0), call(1, passive=1)]):
        with pytest.raises(ReplayError, match="every rank of its group must make it"):
            expand(program(rows, groups=[[0, 1]]), {3: SWAP})
