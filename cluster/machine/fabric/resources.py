"""What transfers can get in each other's way on: directed links, and capacities inside cards."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cluster.machine.collective.fabric import Floats
from cluster.machine.tables import Integers
from cluster.machine.views import Figures, RouteTables

INSIDE = ("d2d", "package out", "package in")
"""Capacities of each package: all traffic between its chiplets, and its link to the others of the
card in each direction."""


class Ways(Protocol):
    """Links between endpoints, and the ways over them: cards on a map, or a plain network."""

    @property
    def link_name(self) -> Any: ...

    @property
    def link_bandwidth_bytes_per_s(self) -> npt.NDArray[np.float64]: ...

    def path(self, src: int, dst: int) -> npt.NDArray[np.int32]: ...

    def latency_ps(self, src: Any, dst: Any) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resources:
    """Numbered: the links of the map first, then INSIDE for each package of each card."""

    name: Any
    """[r] str"""
    capacity_bytes_per_s: Floats
    """[r] usable, after ``links.efficiency``."""
    links: int
    packages: int = 0
    """Per card; 0 where the endpoints have no inside."""

    def inside(self, cards: Integers, kind: str) -> Integers:
        """[card x package] numbers of one capacity of all packages of the cards."""
        package = cards[:, None] * self.packages + np.arange(self.packages)
        return (self.links + package * len(INSIDE) + INSIDE.index(kind)).ravel()


def resources_of(hardware: Figures, routes: RouteTables) -> Resources:
    """The links between the cards of a map, and what each card has inside."""
    efficiency, packages = hardware["links.efficiency"], int(hardware["card.packages"])
    inside = {
        "d2d": hardware["package.d2d_total_bytes_per_s"],
        "package out": hardware["card.package_link_bandwidth_bytes_per_s"],
        "package in": hardware["card.package_link_bandwidth_bytes_per_s"],
    }
    rates = np.tile([inside[kind] for kind in INSIDE], len(routes.card_id) * packages)
    names = [
        f"{card}.p{package} {kind}"
        for card in routes.card_id
        for package in range(packages)
        for kind in INSIDE
    ]
    links = np.asarray(routes.link_bandwidth_bytes_per_s)
    return Resources(
        name=np.array([*routes.link_name, *names], np.str_),
        capacity_bytes_per_s=np.concatenate([links, rates]) * efficiency,
        links=len(links),
        packages=packages,
    )


def plain_resources(network: Ways) -> Resources:
    """The links of a plain network, every byte per second of them."""
    return Resources(
        name=np.asarray(network.link_name),
        capacity_bytes_per_s=np.asarray(network.link_bandwidth_bytes_per_s, np.float64),
        links=len(network.link_name),
    )
