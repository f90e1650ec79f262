"""What the machine reads of the map: figures by dotted key, and route tables of cards."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Figures(Protocol):
    """A hardware catalogue after loading: SI values by dotted key (``card.clock_hz``)."""

    def __getitem__(self, key: str, /) -> float: ...


class RouteTables(Protocol):
    """Cards, where they stand, and the directed links between them (``topology.route.Routes``)."""

    @property
    def card_id(self) -> Any: ...

    @property
    def pair(self) -> npt.NDArray[np.int32]: ...

    @property
    def switch(self) -> npt.NDArray[np.int32]: ...

    @property
    def server(self) -> npt.NDArray[np.int32]: ...

    @property
    def rack(self) -> npt.NDArray[np.int32]: ...

    @property
    def link_bandwidth_bytes_per_s(self) -> npt.NDArray[np.float64]: ...

    @property
    def link_name(self) -> Any: ...

    def path(self, src: int, dst: int) -> npt.NDArray[np.int32]: ...

    def latency_ps(self, src: Any, dst: Any) -> npt.NDArray[np.int64]: ...
