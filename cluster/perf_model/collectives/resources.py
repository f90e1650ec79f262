"""Shared resources of the network model: directed links, and capacities inside cards."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.perf_model.devices import module_of
from cluster.perf_model.protocols import Figures, Network, RouteTables
from corsair_common.units import Integers

INSIDE = ("d2d", "package out", "package in")
"""Capacities of each package: all traffic between its chiplets, and its link to the others of the
card in each direction."""


def link_rates(routes: RouteTables, links: Any = slice(None)) -> npt.NDArray[np.float64]:
    """[l] payload bytes per second of these links of the topology, by default all."""
    rates = np.asarray(routes.link_bandwidth_bytes_per_s)[links]
    usable: npt.NDArray[np.float64] = rates * np.asarray(routes.link_efficiency)[links]
    return usable


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resources:
    """Numbered: the links of the topology first, then INSIDE for each package of each card."""

    name: Any
    """[r] str"""
    capacity_bytes_per_s: npt.NDArray[np.float64]
    """[r] payload rate."""
    links: int
    packages: int = 0
    """Per card; 0 if endpoints have no packages."""

    def inside(self, cards: Integers, kind: str) -> Integers:
        """[card x package] numbers of one capacity of all packages of the cards."""
        package = cards[:, None] * self.packages + np.arange(self.packages)
        return (self.links + package * len(INSIDE) + INSIDE.index(kind)).ravel()


def resources_of(hardware: Figures, routes: RouteTables) -> Resources:
    """The links between the cards of a topology, and the capacities inside each card."""
    inside_card = module_of(hardware).interior(hardware)
    packages = inside_card.packages
    places = [f"{card}.p{package}" for card in routes.card_id for package in range(packages)]
    inside = np.tile(
        [
            inside_card.package_bytes_per_s,
            inside_card.package_link_bytes_per_s,
            inside_card.package_link_bytes_per_s,
        ],
        len(places),
    )
    names = [f"{place} {kind}" for place in places for kind in INSIDE]
    return Resources(
        name=np.array([*routes.link_name, *names], np.str_),
        capacity_bytes_per_s=np.concatenate([link_rates(routes), inside]),
        links=len(routes.link_name),
        packages=packages,
    )


def link_resources(routes: RouteTables) -> Resources:
    """The links between the cards of a topology alone."""
    return Resources(
        name=np.asarray(routes.link_name),
        capacity_bytes_per_s=link_rates(routes),
        links=len(routes.link_name),
    )


def plain_resources(network: Network) -> Resources:
    """The links of a plain network, at their full rate."""
    return Resources(
        name=np.asarray(network.link_name),
        capacity_bytes_per_s=np.asarray(network.link_bandwidth_bytes_per_s, np.float64),
        links=len(network.link_name),
    )
