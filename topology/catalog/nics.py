"""NICs in place of a server's own: partial files of figures, one a NIC."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from topology.catalog.figures import Hardware, nearest
from topology.catalog.kinds import DEFAULT_KIND
from topology.types import TopologyError

_FOLDER = Path(__file__).parent / "shared" / "nics"
NICS: Mapping[str, Path] = {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
"""The file of each. Hardware is named with one as ``corsair+connectx-7``; a hardware file names
one among its bases."""
_PLUS = "+"


def split_nic(name: str) -> tuple[str, str]:
    """The hardware's name, and the NIC behind its last plus sign or none (paths may have such)."""
    hardware, plus, nic = name.rpartition(_PLUS)
    if not plus or "/" in nic or nic.endswith((".yaml", ".yml")):
        return name, ""
    if nic not in NICS:
        raise TopologyError(
            f"hardware {name!r}: unknown NIC {nearest(nic, NICS)} (allowed: {', '.join(NICS)})"
        )
    return hardware, nic


def with_nic(hardware: Hardware, nic: Hardware) -> Hardware:
    """The hardware with a NIC's figures in place of its own NICs'; TopologyError for a machine
    whose NICs are not its servers' own."""
    if hardware.kind != DEFAULT_KIND or hardware.fabric:
        found = f"on the fabric {hardware.fabric}" if hardware.fabric else f"kind {hardware.kind}"
        raise TopologyError(
            f"NIC {nic.name} replaces JetStream in servers of {DEFAULT_KIND}s, found "
            f"{hardware.name} ({found}): give server.nic_* and rack.network_latency_s instead"
        )
    return replace(
        hardware,
        name=f"{hardware.name}{_PLUS}{nic.name}",
        title=f"{hardware.title} with {nic.title} NICs",
        nic=nic.name,
        sources={**hardware.sources, **nic.sources},
        figures={**hardware.figures, **nic.figures},
    )
