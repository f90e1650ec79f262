"""Collectives of cards, message by message, against their closed forms and their coflows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import load, replay_trace
from cluster.perf_model import collectives as closed
from cluster.perf_model.collectives import (
    Cost,
    Group,
    Messages,
    Resources,
    TransferList,
    Transfers,
    algorithms_of,
    card_messages,
    coflows,
    group_of,
    resources_of,
)
from cluster.replay.engine import replay
from cluster.replay.expand import expand
from cluster.replay.interface import Kind, Operations, Replayed
from cluster.replay.reference import replay_reference
from cluster.serving.run import map_of
from topology.catalog import load_hardware
from topology.route import Routes

COLLECTIVES = ("all_reduce", "reduce_scatter", "all_gather", "all_to_all")
CHOICES = [(name, algorithm) for name in COLLECTIVES for algorithm in algorithms_of(name)]


class Wired:
    """Two servers of eight cards, and what their groups send."""

    def __init__(self) -> None:
        self.hardware = load_hardware("corsair", {})
        scenario = load(
            {
                "cluster": {"racks": 1, "servers_per_rack": 2, "cards_per_server": 8},
                "model": "llama-3.1-8b",
                "workload": {"program": {"phase": "decode", "batch": 1, "context": 1, "steps": 1}},
            }
        )
        self.routes: Routes = map_of(scenario, self.hardware)[1]
        self.resources: Resources = resources_of(self.hardware, self.routes)

    def group(self, cards: list[int]) -> Group:
        return group_of(self.hardware, self.routes, cards)

    def sent(self, cards: list[int], call: tuple[str, str], payload: int) -> "Sent":
        group = self.group(cards)
        found = TransferList(self.resources)
        name, algorithm = call
        coflow = coflows(self.resources, group, name, np.array([payload]), algorithm, 1)[0]
        found.add(coflow, own=True)
        plan = card_messages(found, self.resources, self.routes, group, name, payload, algorithm)
        return Sent(plan, found.table(), len(cards))


class Sent:
    """One collective as messages; transfer 0 is its coflow."""

    def __init__(self, plan: Messages, transfers: Transfers, cards: int) -> None:
        self.plan, self.transfers, self.cards = plan, transfers, cards

    def replayed(self, engine: Callable[..., Replayed] = replay) -> Replayed:
        longer = expand(call_of(self.cards), {0: self.plan})
        return engine(longer.operations, self.transfers)

    def bytes_of(self, transfer: int) -> Any:
        """[r] what a transfer of one leg moves."""
        moved = np.zeros(self.transfers.resources, np.int64)
        uses = slice(*self.transfers.use_offsets[transfer : transfer + 2])
        moved[self.transfers.use_resource[uses]] = self.transfers.use_bytes[uses]
        return moved


def call_of(cards: int) -> Operations:
    """A call of all ranks, and nothing else."""
    zero, rank = np.zeros(cards, np.int64), np.arange(cards)
    return Operations(
        rank=rank,
        stream=zero,
        kind=zero + Kind.COLLECTIVE,
        duration_ps=zero,
        transfer=zero,
        group=zero,
        peer=zero - 1,
        tag=zero,
        passive=zero,
        dep_offsets=np.zeros(cards + 1, np.int64),
        deps=zero[:0],
        group_offsets=np.array([0, cards]),
        group_ranks=rank,
    )


@pytest.fixture(scope="module")
def wired() -> Wired:
    return Wired()


def alone_ps(group: Group, call: tuple[str, str], payload: int) -> int:
    cost: Callable[..., Cost] = getattr(closed, call[0])
    return int(cost(group, np.array([payload]), call[1], 1).ps[0])


@pytest.mark.parametrize("cards", [[0, 1], [0, 2], [0, 1, 4, 5], [0, 1, 8, 9], list(range(8))])
@pytest.mark.parametrize("call", CHOICES)
def test_alone_it_takes_the_closed_forms_time_where_all_cards_do_alike(
    wired: Wired, cards: list[int], call: tuple[str, str]
) -> None:
    """Groups of a power of two: to a picosecond or two a round, for short and long vectors."""
    for payload in (4096, 1 << 20):
        sent = wired.sent(cards, call, payload)
        rounds = len(sent.plan.after_ps)
        expected_ps = alone_ps(wired.group(cards), call, payload)

        assert sent.replayed().makespan_ps == pytest.approx(expected_ps, abs=2 * rounds + 1)


calls_of_any_group = partial(
    given,
    cards=st.sets(st.integers(0, 15), min_size=2, max_size=7).map(sorted),
    call=st.sampled_from(CHOICES),
    payload=st.integers(1024, 1 << 22),
)


@settings(max_examples=30, derandomize=True, database=None, deadline=None)
@calls_of_any_group()
def test_of_any_group_it_is_within_a_quarter_of_the_closed_form(
    wired: Wired, cards: list[int], call: tuple[str, str], payload: int
) -> None:
    """Quicker: a card goes on when its own messages are through, not the slowest one's. Slower:
    fair shares of one link leave another idle at the end."""
    took_ps = wired.sent(cards, call, payload).replayed().makespan_ps
    expected_ps = alone_ps(wired.group(cards), call, payload)

    assert 0.75 <= took_ps / expected_ps <= 1.25


@settings(max_examples=20, derandomize=True, database=None, deadline=None)
@calls_of_any_group()
def test_every_link_carries_the_bytes_of_the_coflow(
    wired: Wired, cards: list[int], call: tuple[str, str], payload: int
) -> None:
    """To half a byte a message and one for the coflow: each is rounded."""
    sent = wired.sent(cards, call, payload)
    numbers, counts = np.unique(sent.plan.transfer, return_counts=True)
    moves = [sent.bytes_of(number) for number in numbers]
    moved = sum(count * each for count, each in zip(counts, moves, strict=True))
    crossed = sum(count * (each > 0) for count, each in zip(counts, moves, strict=True))

    assert (sent.replayed().load_bytes.sum(axis=0) == moved).all()
    assert (np.abs(moved - sent.bytes_of(0)) <= 0.5 * crossed + 0.5).all()


@settings(max_examples=25, derandomize=True, database=None, deadline=None)
@calls_of_any_group()
def test_kernel_and_reference_agree_on_it_to_the_bit(
    wired: Wired, cards: list[int], call: tuple[str, str], payload: int
) -> None:
    sent = wired.sent(cards[:4], call, payload)
    one, other = sent.replayed(), sent.replayed(replay_reference)

    for name in ("start_ps", "end_ps", "begin_ps", "finish_ps", "load_bytes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


def test_a_model_steps_by_messages_as_it_does_by_steps_of_the_algorithm() -> None:
    """Nothing else is on the links of a server, so only roundings differ."""
    decode = {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        "workload": {"program": {"phase": "decode", "batch": 1, "context": 64, "steps": 2}},
    }
    steps, messages = (
        replay_trace({**decode, "fabric": {"collectives": how}}) for how in ("steps", "messages")
    )
    rows = steps.outcome.operations.total
    links = len(steps.machine.resources.name)
    moved = [run.outcome.replayed.load_bytes.sum(axis=0) for run in (steps, messages)]

    assert messages.outcome.operations.total > 2 * rows
    assert messages.summary["makespan_s"] == pytest.approx(steps.summary["makespan_s"], rel=1e-6)
    assert moved[0].shape == moved[1].shape == (links,)
    assert moved[1] == pytest.approx(moved[0], rel=1e-3)
    assert messages.summary["operations"] == steps.summary["operations"]
    shares = [run.summary["critical_share"]["dispatch"] for run in (steps, messages)]
    assert shares[0] == pytest.approx(shares[1], rel=1e-6)
