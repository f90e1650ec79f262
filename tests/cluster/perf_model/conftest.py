"""A small map by hand: eight cards a server, four bridged pairs, two PCIe switches, four NICs."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from topology.catalog import load_hardware

ROUND = {
    "card.clock_hz": 1.0e9,
    "links.chunk_overhead_s": 0.0,
    "links.efficiency": 1.0,  # of links inside cards; HandMap has its own
    "simd.add_clocks": 0.0,
}
"""What is not as in the catalogue, so that times can be counted by hand."""


@dataclass(frozen=True)
class HandMap:
    """Links of card c: up c, down c, bridge c; two a server between switches, NICs."""

    cards: int
    scaled: dict[str, float] = field(default_factory=dict)
    efficiency: float = 1.0

    @property
    def card_id(self) -> list[str]:
        return [f"s{c // 8}.c{c % 8}" for c in range(self.cards)]

    def _index(self, per: int) -> npt.NDArray[np.int32]:
        return (np.arange(self.cards) // per).astype(np.int32)

    @property
    def levels(self) -> list[tuple[str, npt.NDArray[np.int32]]]:
        return [
            ("bridge", self._index(2)),
            ("pcie", self._index(4)),
            ("inter_switch", self._index(8)),
            ("ethernet", self._index(64)),
            ("spine", self._index(self.cards)),
        ]

    @property
    def link_name(self) -> list[str]:
        names = [f"{kind}{c}" for kind in ("up", "down", "bridge") for c in range(self.cards)]
        servers = -(-self.cards // 8)
        names += [f"between{s}.{way}" for s in range(servers) for way in (0, 1)]
        return names + [
            f"nic{s}.{n}.{way}" for s in range(servers) for n in range(4) for way in "oi"
        ]

    @property
    def link_bandwidth_bytes_per_s(self) -> npt.NDArray[np.float64]:
        rates = {"up": 64e9, "down": 64e9, "bridge": 256e9, "between": 128e9, "nic": 50e9}
        return np.array(
            [
                next(rate for kind, rate in rates.items() if name.startswith(kind))
                * self.scaled.get(name, 1.0)
                for name in self.link_name
            ]
        )

    @property
    def link_efficiency(self) -> npt.NDArray[np.float64]:
        return np.full(len(self.link_name), self.efficiency)

    def path(self, src: int, dst: int) -> npt.NDArray[np.int32]:
        if src // 2 == dst // 2:
            names = [f"bridge{src}"]
        elif src // 4 == dst // 4:
            names = [f"up{src}", f"down{dst}"]
        elif src // 8 == dst // 8:
            names = [f"up{src}", f"between{src // 8}.{src // 4 % 2}", f"down{dst}"]
        else:
            out, into = f"nic{src // 8}.{src % 8 // 2}.o", f"nic{dst // 8}.{dst % 8 // 2}.i"
            names = [f"up{src}", out, into, f"down{dst}"]
        known = self.link_name
        return np.array([known.index(name) for name in names], np.int32)

    def latency_ps(
        self, src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        source, destination = np.asarray(src), np.asarray(dst)
        ps = np.full(source.shape, 2_000_000, np.int64)
        for per, latency_ps in ((8, 765_000), (4, 650_000), (2, 400_000), (1, 0)):
            ps[source // per == destination // per] = latency_ps
        return ps


@pytest.fixture
def figures() -> dict[str, float]:
    """Corsair's figures, but 1 GHz, no link overhead, free additions."""
    corsair = load_hardware("corsair")
    return {name: corsair[name] for name in corsair.figures} | ROUND


@pytest.fixture
def hand_map() -> Callable[..., HandMap]:
    """``hand_map(cards, scaled={link name: factor}, efficiency=1.0)``."""
    return HandMap
