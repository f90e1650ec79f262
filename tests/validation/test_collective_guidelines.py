"""No collective takes longer than others that do its work (self-consistent performance guidelines).

Träff, Gropp and Thakur, "Self-consistent MPI Performance Guidelines" (IEEE TPDS 21(5), 2010): a
broadcast is an all-reduce of a vector and zeros, a reduce-scatter is part of an all-reduce, an
all-reduce is a reduce-scatter and an all-gather, and fewer bytes never take longer.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import load
from cluster.perf_model.collectives import (
    LIKE,
    call_cost,
    group_of,
    plain_resources,
)
from cluster.replay.collective_calls import Call
from cluster.replay.transfers import Options, PlainTransfers
from cluster.serving.run import map_of
from corsair_common.units import Integers
from topology.astra_network import Network, read_network
from topology.catalog import load_hardware
from topology.route import Routes

COLLECTIVES = ("all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast")
ROUNDING_PS = 64
"""Every round is rounded to a picosecond, and the schedules below have fewer rounds."""
SIZES = st.floats(0.0, 30.0).map(lambda bits: round(2**bits))
"""Of a vector, in bytes."""
LADDER = [round(10 ** (digits / 4)) for digits in range(37)]


def check_guidelines(alone_ps: Callable[[str, Integers], Integers], sizes: Sequence[int]) -> None:
    """``alone_ps(collective, bytes)`` of one group, at each of the sizes."""
    bytes_ = np.array(sorted({0, 1, *sizes}), np.int64)
    taken = {name: alone_ps(name, bytes_) for name in COLLECTIVES}
    reduced, gathered, scattered = taken["all_reduce"], taken["all_gather"], taken["reduce_scatter"]
    assert (taken["broadcast"] <= reduced + ROUNDING_PS).all()
    assert (scattered <= reduced + ROUNDING_PS).all()
    assert (gathered <= reduced + ROUNDING_PS).all()
    assert (reduced <= scattered + gathered + ROUNDING_PS).all()
    barrier_ps = alone_ps("barrier", np.zeros(1, np.int64))[0]
    for name in COLLECTIVES:
        assert (np.diff(taken[name]) >= 0).all()
        assert taken[name][0] > 0
    assert barrier_ps <= min(reduced[1], gathered[1]) + ROUNDING_PS


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Plain networks of one to three dimensions of any shapes."""
    most = draw(st.sampled_from([[9], [5, 4], [3, 3, 3]]))
    shapes = [draw(st.sampled_from(["Ring", "FullyConnected", "Switch"])) for _ in most]
    counts = [draw(st.integers(2, size)) for size in most]
    rates = [draw(st.sampled_from([1.0, 25.0, 400.0])) for _ in most]
    latencies = [draw(st.sampled_from([1, 500, 20_000])) for _ in most]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.yml"
        file.write_text(
            f"topology: [{', '.join(shapes)}]\nnpus_count: {counts}\n"
            f"bandwidth: {rates}\nlatency: {latencies}\n"
        )
        return read_network(file)


@st.composite
def members(draw: st.DrawFn, ranks: int) -> tuple[int, ...]:
    """All ranks, or some of them in any order."""
    if draw(st.booleans()):
        return tuple(range(ranks))
    chosen = draw(st.permutations(range(ranks)))
    return tuple(chosen[: draw(st.integers(2, ranks))])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), network=networks(), sizes=st.lists(SIZES, min_size=2, max_size=3))
def test_the_guidelines_hold_on_plain_networks(
    data: st.DataObject, network: Network, sizes: list[int]
) -> None:
    ranks = data.draw(members(network.ranks))
    transfers = PlainTransfers(
        network=network, resources=plain_resources(network), options=Options()
    )

    def alone_ps(collective: str, sizes: Integers) -> Integers:
        found = [
            transfers.legs(
                Call(
                    collective=collective,
                    ranks=ranks,
                    payload_bytes=size,
                    alone_ps=0,
                    recorded=False,
                )
            )
            for size in sizes.tolist()
        ]
        return np.array([sum(leg.latency_ps + leg.work_ps for leg in legs) for legs in found])

    check_guidelines(alone_ps, sizes)
    farthest = max(int(network.latency_ps(one, two)) for one in ranks for two in ranks)
    assert alone_ps("barrier", np.zeros(1, np.int64))[0] >= farthest


HARDWARE = load_hardware("corsair", {})


@cache
def cards_of(racks: int, servers: int, cards: int) -> Routes:
    cluster = {"racks": racks, "servers_per_rack": servers, "cards_per_server": cards}
    program = {"phase": "decode", "batch": 1, "context": 1, "steps": 1}
    scenario = load({"cluster": cluster, "model": "llama-3.1-8b", "workload": {"program": program}})
    return map_of(scenario, HARDWARE)[1]


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    shape=st.sampled_from([(1, 1, 2), (1, 1, 8), (1, 2, 8), (2, 2, 8)]),
    sizes=st.lists(SIZES, min_size=1).map(lambda drawn: [*LADDER, *drawn]),
)
def test_the_guidelines_hold_on_cards(
    data: st.DataObject, shape: tuple[int, int, int], sizes: list[int]
) -> None:
    routes = cards_of(*shape)
    cards = data.draw(members(len(routes.card_id)))
    group = group_of(HARDWARE, routes, cards)

    def alone_ps(collective: str, sizes: Integers) -> Integers:
        return call_cost(group, LIKE.get(collective, collective), sizes).ps

    check_guidelines(alone_ps, sizes)
    card = np.array(cards)
    farthest = int(routes.latency_ps(card[:, None], card[None, :]).max())
    assert alone_ps("barrier", np.zeros(1, np.int64))[0] >= farthest
