"""From the chiplets of a card to its outer ports: what crosses D2D and the link between packages.

Chiplets own the ports as in the topology (``topology.builder.add_card``): the first and the last of
each package those of the bridge, the first of the card its x16, the last of the first package and
the first of each other one the link between them. A chiplet without the port sends its bytes to
the owner over one D2D link, in another package than the x16's by the package link. Bytes that
arrive take the same way back. Published latencies of paths between cards are those of chiplets, so
they hold.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cluster.perf_model.devices.work import Interior
from corsair_common.units import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inside:
    """Bytes inside the cards of a group; each field adds to those of its name in a round."""

    mesh: Floats
    """[card, package, chiplet, chiplet] over each D2D link."""
    out: Floats
    """[card, package] over its link to the other packages."""
    into: Floats
    """[card, package] over that link from them."""

    @property
    def package(self) -> Floats:
        """[card, package] over all D2D links of a package."""
        total: Floats = self.mesh.sum(axis=(2, 3))
        return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Way:
    """Of one byte from each unit to a port."""

    mesh: Floats
    """[unit, package, chiplet, chiplet]"""
    out: Floats
    """[unit, package]"""
    into: Floats


def to_ports(interior: Interior, sent: Floats, received: Floats, bridged: Floats) -> Inside:
    """Bytes between ports and chiplets when units send and receive these bytes.

    ``sent[a, u, b]`` bytes leave unit u of card a for card b, ``received[a, b, u]`` arrive from a
    at unit u of b, and ``bridged[a, b]`` is 1 for cards that a bridge joins, else 0.
    """
    cards, packages, chiplets = len(bridged), interior.packages, interior.chiplets
    found = Inside(
        mesh=np.zeros((cards, packages, chiplets, chiplets)),
        out=np.zeros((cards, packages)),
        into=np.zeros((cards, packages)),
    )
    ways = _ways(packages, chiplets)
    for way, joined in zip(ways, (bridged, 1.0 - bridged), strict=True):
        leaving = np.einsum("aub,ab->au", sent, joined)
        coming = np.einsum("abu,ab->bu", received, joined)
        found.mesh[:] += np.tensordot(leaving, way.mesh, 1)
        found.mesh[:] += np.tensordot(coming, way.mesh, 1).swapaxes(-1, -2)
        found.out[:] += leaving @ way.out + coming @ way.into
        found.into[:] += leaving @ way.into + coming @ way.out
    return found


@lru_cache(maxsize=16)
def _ways(packages: int, chiplets: int) -> tuple[_Way, _Way]:
    """To the bridge's ports, and to the x16."""
    units = packages * chiplets
    bridge, x16 = (
        _Way(
            mesh=np.zeros((units, packages, chiplets, chiplets)),
            out=np.zeros((units, packages)),
            into=np.zeros((units, packages)),
        )
        for _ in range(2)
    )
    first, last = 0, chiplets - 1
    for unit in range(units):
        package, chiplet = divmod(unit, chiplets)
        _hop(bridge, unit, package, chiplet, first if 2 * chiplet < chiplets else last)
        _hop(x16, unit, package, chiplet, first)
        if package:  # the first chiplet of its package owns the link to the others
            x16.out[unit, package] = x16.into[unit, 0] = 1.0
            _hop(x16, unit, 0, last, first)
    return bridge, x16


def _hop(way: _Way, unit: int, package: int, source: int, target: int) -> None:
    if source != target:
        way.mesh[unit, package, source, target] = 1.0
