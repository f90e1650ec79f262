"""All-reduces of cards that share one PCIe fabric, by their closed forms."""

import numpy as np
import pytest

from cluster.perf_model.collectives import Group, all_reduce, group_of
from topology.build import build_rack
from topology.catalog import load_hardware
from topology.route import compile_routes

ONE_CHIPLET = {"package.chiplets": 1, "card.packages": 1}
"""Cards of one rank, so that the fabric is the only tier of a group without bridged pairs."""
N, BYTES = 16, 1 << 20
PATH_S, MESSAGE_S = 735e-9, 20e-9
BYTE_S = 1 / (64e9 * 0.85)
"""Of a card's x16 at ``links.efficiency``."""


@pytest.fixture(scope="module")
def sixteen() -> Group:
    """One card of each of the 16 pairs of a node."""
    routes = compile_routes(build_rack(load_hardware("corsair", ONE_CHIPLET, "supernode")))
    return group_of(load_hardware("corsair", ONE_CHIPLET, "supernode"), routes, range(0, 32, 2))


@pytest.mark.parametrize(
    ("algorithm", "rounds", "messages"),
    [("direct", 2, 2 * (N - 1)), ("ring", 2 * (N - 1), 2 * (N - 1)), ("halving_doubling", 8, 8)],
)
def test_an_all_reduce_over_16_cards_of_a_node_has_its_closed_form(
    sixteen: Group, algorithm: str, rounds: int, messages: int
) -> None:
    """Every card sends and receives 2 (n - 1)/n of the bytes, and adds half of what comes."""
    moved = (N - 1) / N * BYTES
    expected_s = rounds * PATH_S + messages * MESSAGE_S + 2 * moved * BYTE_S
    expected_s += moved * sixteen.add_s_per_byte

    found = all_reduce(sixteen, np.array([BYTES]), algorithm, 1)
    assert [(tier.name, tier.members) for tier in sixteen.tiers] == [("pcie", 16)]
    assert found.ps[0] == pytest.approx(expected_s * 1e12, abs=1)


def test_a_group_of_a_whole_node_has_no_tier_of_nics() -> None:
    hardware = load_hardware("corsair-supernode")
    routes = compile_routes(build_rack(hardware))

    node, both = (group_of(hardware, routes, range(cards)) for cards in (32, 64))
    inside = [("d2d", 4), ("package", 2), ("bridge", 2), ("pcie", 16)]
    assert [(tier.name, tier.members) for tier in node.tiers] == inside
    assert [(tier.name, tier.members) for tier in both.tiers] == [*inside, ("ethernet", 2)]
