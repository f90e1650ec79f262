"""Collectives replayed message by message on plain networks, against their alpha-beta times.

alpha is the latency of a link, beta its bytes per second, n the ranks, B the payload: a ring
all-reduce takes 2 (n - 1) (alpha + B / (n beta)), a direct one 2 (alpha + B / (n beta)).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.collectives import (
    Messages,
    Round,
    TransferList,
    messages,
    nested_rounds,
    plain_resources,
    round_steps,
    rounds_of,
)
from cluster.replay.engine import replay
from cluster.replay.expand import expand
from cluster.replay.interface import Kind, Operations, Replayed
from topology.astra_network import Network, read_network

ALPHA_PS = 500_000
BYTES = 1 << 20
BETA = 32  # GB/s of 2^30 bytes
Networks: TypeAlias = Callable[..., Network]


def times(rounds: Sequence[Round]) -> int:
    return sum(one.times for one in rounds)


def wire_ps(size_bytes: float) -> float:
    return size_bytes / (BETA * 2**30) * 1e12


@pytest.fixture
def network(tmp_path: Path) -> Networks:
    """``network(Ring=8)`` or, with several dimensions, ``network(Ring=4, Switch=2)``."""

    def read(**dimensions: int) -> Network:
        file = tmp_path / "network.yml"
        count = len(dimensions)
        file.write_text(
            f"topology: [{', '.join(dimensions)}]\n"
            f"npus_count: {list(dimensions.values())}\n"
            f"bandwidth: {[float(BETA)] * count}\nlatency: {[ALPHA_PS / 1000] * count}\n"
        )
        return read_network(file)

    return read


def calls(ranks: int, times: int = 1) -> Operations:
    """Every rank calls the same collective of all, so many times."""
    rows = ranks * times
    blank = np.full(rows, -1, np.int64)
    zero = np.zeros(rows, np.int64)
    return Operations(
        rank=np.tile(np.arange(ranks), times),
        stream=zero + 1,
        kind=zero + Kind.COLLECTIVE,
        duration_ps=zero,
        transfer=zero,
        group=zero,
        peer=blank,
        tag=zero,
        passive=zero,
        dep_offsets=np.zeros(rows + 1, np.int64),
        deps=np.zeros(0, np.int64),
        group_offsets=np.array([0, ranks]),
        group_ranks=np.arange(ranks),
    )


def by_messages(on: Network, rounds: Sequence[Round], times: int = 1) -> Replayed:
    """Replay it message by message, every one on its own way."""
    resources, everyone = plain_resources(on), np.arange(on.ranks)
    found = TransferList(resources)
    found.add(round_steps(resources, on, everyone, rounds, BYTES))
    plan = messages(found, resources, on, everyone, rounds, BYTES)
    return replay(expand(calls(on.ranks, times), {0: plan}).operations, found.table())


def by_steps(on: Network, rounds: Sequence[Round]) -> Replayed:
    """Replay it with all messages of a round as one leg."""
    resources = plain_resources(on)
    found = TransferList(resources)
    found.add(round_steps(resources, on, np.arange(on.ranks), rounds, BYTES))
    return replay(calls(on.ranks), found.table())


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 16])
def test_a_ring_all_reduce_takes_its_alpha_beta_time(network: Networks, ranks: int) -> None:
    rounds = rounds_of("all_reduce", "ring", ranks)
    expected_ps = 2 * (ranks - 1) * (ALPHA_PS + wire_ps(BYTES / ranks))

    for replayed in (
        by_messages(network(Ring=ranks), rounds),
        by_steps(network(Ring=ranks), rounds),
    ):
        assert replayed.makespan_ps == pytest.approx(expected_ps, abs=times(rounds))


@pytest.mark.parametrize("ranks", [2, 5, 8])
def test_a_direct_all_reduce_takes_its_alpha_beta_time(network: Networks, ranks: int) -> None:
    rounds = rounds_of("all_reduce", "direct", ranks)
    expected_ps = 2 * (ALPHA_PS + wire_ps(BYTES / ranks))

    for replayed in (
        by_messages(network(FullyConnected=ranks), rounds),
        by_steps(network(FullyConnected=ranks), rounds),
    ):
        assert replayed.makespan_ps == pytest.approx(expected_ps, abs=2)


@pytest.mark.parametrize(("ranks", "share"), [(2, 1 / 2), (4, 3 / 4), (8, 7 / 8), (16, 15 / 16)])
def test_halving_and_doubling_on_a_switch_takes_its_alpha_beta_time(
    network: Networks, ranks: int, share: float
) -> None:
    """A switch is two links away: log2 n rounds each way, (n - 1)/n of the payload each way."""
    rounds = rounds_of("all_reduce", "halving_doubling", ranks)
    expected_ps = 2 * (np.log2(ranks) * 2 * ALPHA_PS + wire_ps(BYTES * share))

    for replayed in (
        by_messages(network(Switch=ranks), rounds),
        by_steps(network(Switch=ranks), rounds),
    ):
        assert replayed.makespan_ps == pytest.approx(expected_ps, abs=times(rounds))


def test_a_tree_broadcast_sends_the_whole_vector_in_every_round(network: Networks) -> None:
    replayed = by_messages(network(Switch=8), rounds_of("broadcast", "tree", 8))

    assert replayed.makespan_ps == pytest.approx(3 * (2 * ALPHA_PS + wire_ps(BYTES)), abs=3)


def test_a_direct_exchange_through_a_switch_shares_the_rank_s_own_link(network: Networks) -> None:
    """Seven messages leave by one link: as long as their bytes together."""
    replayed = by_messages(network(Switch=8), rounds_of("all_to_all", "direct", 8))

    assert replayed.makespan_ps == pytest.approx(2 * ALPHA_PS + wire_ps(BYTES * 7 / 8), abs=8)


def test_two_dimensions_are_reduced_one_after_the_other(network: Networks) -> None:
    """Rings of four over the whole, then pairs over a quarter of it, and back."""
    rounds = nested_rounds("all_reduce", [4, 2], ["ring", "direct"])
    ring_ps = 3 * (ALPHA_PS + wire_ps(BYTES / 4))
    pair_ps = ALPHA_PS + wire_ps(BYTES / 8)

    replayed = by_messages(network(Ring=4, FullyConnected=2), rounds)

    assert replayed.makespan_ps == pytest.approx(2 * (ring_ps + pair_ps), abs=8)


def test_calls_follow_each_other_without_a_gap(network: Networks) -> None:
    rounds = rounds_of("all_gather", "ring", 4)
    once = by_messages(network(Ring=4), rounds)

    assert by_messages(network(Ring=4), rounds, times=5).makespan_ps == 5 * once.makespan_ps


def test_every_byte_of_a_ring_passes_every_link_of_it(network: Networks) -> None:
    """2 (n - 1) / n of the payload over each rising link, nothing over the falling ones."""
    replayed = by_messages(network(Ring=8), rounds_of("all_reduce", "ring", 8))

    moved = replayed.load_bytes.sum(axis=0).reshape(8, 2)
    assert (moved == [BYTES * 14 // 8, 0]).all()


def test_the_plan_of_a_ring_of_two_lists_the_sends(network: Networks) -> None:
    on = network(Ring=2)
    resources = plain_resources(on)
    found = TransferList(resources)

    plan: Messages = messages(
        found, resources, on, np.arange(2), rounds_of("all_reduce", "ring", 2), BYTES
    )

    assert plan.round.tolist() == [0, 0, 1, 1]
    assert plan.source.tolist() == [0, 1, 0, 1]
    assert plan.target.tolist() == [1, 0, 1, 0]
    assert plan.transfer.tolist() == [0, 1, 0, 1]  # equal messages share a transfer
