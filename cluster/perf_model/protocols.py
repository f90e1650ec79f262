"""Protocols of the topology that the performance model reads: figures and route tables."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Figures(Protocol):
    """A hardware catalogue after loading: SI values by dotted key (``card.clock_hz``)."""

    def __getitem__(self, key: str, /) -> float: ...


class Network(Protocol):
    """Endpoints, directed links and paths: cards of a topology, or ranks of a network."""

    @property
    def link_name(self) -> Any: ...

    @property
    def link_bandwidth_bytes_per_s(self) -> npt.NDArray[np.float64]: ...

    @property
    def link_latency_ps(self) -> npt.NDArray[np.int64]: ...

    def path(self, src: int, dst: int) -> npt.NDArray[np.int32]: ...

    def latency_ps(self, src: Any, dst: Any) -> npt.NDArray[np.int64]: ...


class RouteTables(Network, Protocol):
    """Cards, their positions, and the links between them (``topology.route.Routes``)."""

    @property
    def card_id(self) -> Any: ...

    @property
    def server(self) -> npt.NDArray[np.int32]: ...

    @property
    def link_efficiency(self) -> npt.NDArray[np.float64]:
        """[link] part of the bandwidth that payload can use."""

    @property
    def levels(self) -> Sequence[tuple[str, npt.NDArray[np.int32]]]:
        """Bottom-up: the kind of link, and [card] the unit of each card. Cards with equal numbers
        are connected by links of this kind and those before it."""
