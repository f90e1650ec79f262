"""Racks with servers of two kinds of hardware, on the same leaf switches."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from topology.catalog import Hardware
from topology.types import TopologyError


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedHardware:
    """The first servers of a cluster are of one kind of hardware, all others of another.

    Each server has the cards, NICs and links of its own kind. Leaves and spines, which both share,
    are those of the first kind.
    """

    first: Hardware
    second: Hardware
    first_servers: int
    """Servers of the first kind; they are counted rack by rack."""

    @property
    def name(self) -> str:
        return f"{self.first.name}+{self.second.name}"

    def of_server(self, server: int) -> Hardware:
        """The hardware of a server, by its number in the cluster."""
        return self.first if server < self.first_servers else self.second


AnyHardware: TypeAlias = Hardware | MixedHardware


def kinds_of(hardware: AnyHardware) -> tuple[Hardware, ...]:
    """The one hardware, or both."""
    if isinstance(hardware, MixedHardware):
        return hardware.first, hardware.second
    return (hardware,)


def servers_of(hardware: AnyHardware, racks: int, servers_per_rack: int) -> list[list[Hardware]]:
    """[rack][server] hardware of every server.

    Raises
    ------
    TopologyError
        A rack has no room for its servers, or kinds join GPUs of several servers in networks whose
        names would be the same.
    """
    if isinstance(hardware, Hardware):
        return [[hardware] * servers_per_rack for _ in range(racks)]
    found = [
        [hardware.of_server(rack * servers_per_rack + server) for server in range(servers_per_rack)]
        for rack in range(racks)
    ]
    for rack in found:
        _check_room(rack)
    if all(spans_servers(each) for each in kinds_of(hardware)):
        raise TopologyError(
            f"{hardware.name}: both kinds have scale-up networks of several servers; one may"
        )
    return found


def spans_servers(hardware: Hardware) -> bool:
    """Whether one NVSwitch domain holds several servers of a rack."""
    gpus = hardware.count("nvswitch.gpus") if "nvswitch.gpus" in hardware.figures else 0
    return gpus > hardware.count("server.cards")


def _check_room(servers: Sequence[Hardware]) -> None:
    """A server takes its kind's share of a rack: one of ``rack.servers``."""
    counts = Counter(each.name for each in servers)
    most = {each.name: each.count("rack.servers") for each in servers}
    taken = math.fsum(1 / each.count("rack.servers") for each in servers)
    if taken > 1 + 1e-9:
        parts = " and ".join(f"{n} of at most {most[name]} ({name})" for name, n in counts.items())
        raise TopologyError(
            f"servers_per_rack: {parts} take {taken:.3g} racks; spread them over more racks, or "
            "change rack.servers with hardware_set"
        )
