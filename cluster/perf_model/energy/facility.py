"""Power of the facility: NICs, PCIe switches, hosts, leaves, spines, and cooling."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.protocols import Figures
from corsair_common.units import Integers

if TYPE_CHECKING:
    from topology.route import Routes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facility:
    """Constant power around the cards, and the PUE."""

    constant_w: Mapping[str, float]
    """NICs, PCIe switches, hosts, leaves and spines of the whole cluster."""
    pue: float
    """Total power of the building over that of its machines."""


def facility_of(figures: Figures, routes: "Routes") -> Facility:
    """Constant power around the cards of a topology."""
    servers = len(np.unique(np.asarray(routes.server)))
    racks = len(np.unique(np.asarray(routes.rack)))
    return Facility(constant_w=constant_watts(figures, servers, racks), pue=figures["cost.pue"])


def constant_watts(figures: Figures, servers: int, racks: int) -> dict[str, float]:
    """Watts of each part around the cards of ``servers`` on ``racks``."""
    leaves, spines = switches_of(servers, racks, figures["pod.spines"])
    return {
        "nics": servers * figures["server.nics"] * figures["server.nic_w"],
        "pcie_switches": servers * figures["server.pcie_switches"] * figures["server.switch_w"],
        "hosts": servers * figures["server.host_w"],
        "leaves": leaves * figures["rack.leaf_w"],
        "spines": spines * figures["pod.spine_w"],
    }


def shared_facilities(
    kinds: tuple[Figures, Figures], routes: "Routes", kind_of_card: Integers
) -> tuple[Facility, ...]:
    """Around the cards of each kind, in servers of their own; the leaves and spines that they share
    are the first kind's."""
    racks = len(np.unique(np.asarray(routes.rack)))
    server = np.asarray(routes.server)
    switches = constant_watts(kinds[0], len(np.unique(server)), racks)
    found = []
    for kind, figures in enumerate(kinds):
        own = constant_watts(figures, len(np.unique(server[kind_of_card == kind])), racks)
        own |= {name: 0.0 if kind else switches[name] for name in ("leaves", "spines")}
        found.append(Facility(constant_w=own, pue=figures["cost.pue"]))
    return tuple(found)


def switches_of(servers: int, racks: int, spines: float) -> tuple[int, int]:
    """Leaves and spines: a single server needs no leaf, a single rack no spine."""
    return racks if servers > 1 else 0, int(spines) if racks > 1 else 0


def facility_power_w(
    facility: Facility, cards_w: float, ethernet_w: float
) -> tuple[dict[str, float], float]:
    """Watts of each part, cooling last, and all together.

    The constant power of leaves and spines includes their energy of the cards' bytes, which is
    subtracted from the cards here, so that it counts once.
    """
    parts = {"cards": cards_w - ethernet_w, **facility.constant_w}
    machines_w = math.fsum(parts.values())
    parts["cooling"] = (facility.pue - 1) * machines_w
    return parts, machines_w + parts["cooling"]
