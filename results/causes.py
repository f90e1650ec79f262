"""What the time of a card goes into, and what a critical path waits for: words, remedy, colour."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from results.schema import BOUNDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A bound of a card's time (``BOUNDS``), or a cause of a replay's critical path."""

    words: str
    remedy: str
    """What helps when most busy time, or most of the critical path, is bound so."""
    colour: str
    figures: tuple[str, ...] = ()
    """Figures of the hardware that its time rests on, by how their names begin."""


KNOWN_CAUSES: Mapping[str, Cause] = MappingProxyType(
    {
        "stream": Cause(
            words="streaming weights and KV from SRAM",
            remedy="more cards per tensor group, narrower weights (mxint4), or larger "
            "batches, which use each streamed weight more often",
            colour="#0072b2",
            figures=("dimc.stream", "dimc.fill", "card.clock"),
        ),
        "mac": Cause(
            words="multiplying",
            remedy="narrower formats or more cards: the rare case in which the arrays are "
            "the limit",
            colour="#009e73",
            figures=("dimc.clocks", "dimc.fill", "card.clock", "chiplet.noc"),
        ),
        "simd": Cause(
            words="vector work",
            remedy="more cards per tensor group share softmax and activations; norms are "
            "replicated",
            colour="#56b4e9",
            figures=("simd.", "card.clock"),
        ),
        "lpddr": Cause(
            words="LPDDR",
            remedy="keep more in SRAM (memory.mode performance or auto, more cards), or "
            "narrower weights",
            colour="#e69f00",
            figures=("chiplet.lpddr", "chiplet.prefetch"),
        ),
        "network": Cause(
            words="collectives on the network",
            remedy="smaller or tighter tensor groups (the four cards under one PCIe switch), "
            "a narrower wire format, or larger batches, which spread a collective's "
            "latency over more tokens",
            colour="#d55e00",
            figures=(
                *("links.", "pair.", "server.", "rack."),
                *("package.", "card.package", "card.pcie"),
            ),
        ),
        "dispatch": Cause(
            words="dispatching operations",
            remedy="larger batches, or plans with fewer operations in a row: each operation "
            "pays to be dispatched, however little it does",
            colour="#cc79a7",
            figures=("card.dispatch",),
        ),
        "latency": Cause(
            words="the latency of messages",
            remedy="fewer messages in a row over fewer hops: tensor groups under one switch, "
            "or larger batches, which send more tokens with each message",
            colour="#5d3a9b",
            figures=(
                *("package.d2d_latency", "card.package_link_latency", "pair.bridge_latency"),
                *("server.pcie_latency", "server.inter_switch_latency"),
                *("rack.network_latency", "rack.leaf_latency", "pod.spine_latency"),
            ),
        ),
        "contention": Cause(
            words="waiting for other messages on the same cables",
            remedy="keep messages that are under way together off each other's cables: place "
            "groups apart, add NICs, or try another algorithm (collectives: in the "
            "scenario)",
            colour="#a50026",
        ),
        "recorded": Cause(
            words="times that the trace brought along",
            remedy="nothing on this machine: these times stand in the trace and are not computed",
            colour="#777777",
        ),
    }
)
"""Bounds in their order, then what only replays know."""

BOUND_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        **{bound: KNOWN_CAUSES[bound].colour for bound in BOUNDS if bound in KNOWN_CAUSES},
        "idle": "#e4e4e4",
    }
)


def words_of(name: str) -> str:
    """A bound or cause in words; one that is not known here stands for itself."""
    return KNOWN_CAUSES[name].words if name in KNOWN_CAUSES else name
