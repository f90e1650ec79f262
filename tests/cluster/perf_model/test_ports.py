"""The way from chiplets to the ports of their card, counted by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cluster.perf_model.collectives import all_to_all, group_of, tiers_of
from cluster.perf_model.collectives.ports import to_ports
from cluster.perf_model.devices.work import Interior

CARD = Interior(packages=2, chiplets=4)
NONE = np.zeros((2, 8, 2))


def one_from(unit: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A byte from this unit of card 0 to card 1."""
    sent = NONE.copy()
    sent[0, unit, 1] = 1.0
    return sent


def hops(mesh: np.ndarray[Any, np.dtype[np.float64]]) -> list[tuple[int, ...]]:
    """Package, source and target of the D2D links of card 0 that carry bytes."""
    return [tuple(place) for place in np.argwhere(mesh[0]).tolist()]


@pytest.mark.parametrize(
    ("unit", "expected", "crosses"),
    [
        (0, [], False),  # has the x16
        (2, [(0, 2, 0)], False),
        (4, [(0, 3, 0)], True),  # has the package link
        (6, [(0, 3, 0), (1, 2, 0)], True),
    ],
)
def test_a_chiplet_reaches_the_x16_over_d2d_and_the_package_link(
    unit: int, expected: list[tuple[int, ...]], crosses: bool
) -> None:
    found = to_ports(CARD, one_from(unit), NONE.swapaxes(1, 2), np.zeros((2, 2)))

    assert hops(found.mesh) == expected
    assert found.out[0].tolist() == [0.0, float(crosses)]
    assert found.into[0].tolist() == [float(crosses), 0.0]
    assert not found.mesh[1].any()


@pytest.mark.parametrize(
    ("unit", "expected"), [(0, []), (1, [(0, 1, 0)]), (6, [(1, 2, 3)]), (7, [])]
)
def test_a_chiplet_reaches_the_bridge_in_its_own_package(
    unit: int, expected: list[tuple[int, ...]]
) -> None:
    found = to_ports(CARD, one_from(unit), NONE.swapaxes(1, 2), 1 - np.eye(2))

    assert hops(found.mesh) == expected
    assert not found.out.any()


def test_what_arrives_takes_the_way_back() -> None:
    received = one_from(6).transpose(2, 0, 1)  # from card 1 to unit 6 of card 0
    leaving = to_ports(CARD, one_from(6), NONE.swapaxes(1, 2), np.zeros((2, 2)))
    arriving = to_ports(CARD, NONE, received, np.zeros((2, 2)))

    assert np.array_equal(arriving.mesh, leaving.mesh.swapaxes(-1, -2))
    assert np.array_equal(arriving.out, leaving.into)
    assert np.array_equal(arriving.into, leaving.out)


def test_half_of_what_crosses_an_x16_crosses_the_package_link_as_well(
    figures: dict[str, float], hand_map: Callable[..., Any]
) -> None:
    # Cards 0 and 2 have no bridge. Every chiplet sends 1/16 of its B bytes to each of 16: 8 B / 2
    # to the other card over the x16, half of it from the second package.
    routes, size = hand_map(4), 1_600_000
    cost = all_to_all(group_of(figures, routes, [0, 2]), np.array([size]), "direct")
    tiers = dict(zip(tiers_of(routes), cost.tier_bytes[0].tolist(), strict=True))

    assert tiers["pcie"] == 8 * size / 2
    own = 2 * 4 * 4 * size / 16  # from the chiplets of one package to those of the other
    assert tiers["package"] == own + 2 * tiers["pcie"] / 2  # half goes out, half comes in
