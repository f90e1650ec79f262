"""Fabrics that put nodes of many cards in place of servers: partial files of figures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from topology.catalog.figures import Hardware, nearest
from topology.catalog.kinds import DEFAULT_KIND
from topology.strict_yaml import Document
from topology.types import TopologyError

FABRICS: Mapping[str, str] = {"supernode": DEFAULT_KIND}
"""The kind of hardware that each joins. A file of ``shared/`` that others name as base."""
SERVERS = "jetstream"
"""No such fabric: servers of DIMC cards, joined by their NICs."""
AUTO = "auto"
"""As the hardware file says."""


def fabric_of(document: Document, bases: Sequence[Hardware]) -> str:
    """The fabric that a file names, else that of its last base that has one."""
    inherited = next((base.fabric for base in reversed(bases) if base.fabric), "")
    fabric = str(document.mapping().get("fabric", inherited))
    if fabric and fabric not in FABRICS:
        raise TopologyError(
            f"{document.where(('fabric',))}: unknown fabric {nearest(fabric, FABRICS)} "
            f"(allowed: {', '.join(FABRICS)})"
        )
    return fabric


def check_fabric(hardware: Hardware, fabric: str) -> None:
    """Refuse a fabric (TopologyError) that does not join this hardware, which may have another."""
    if fabric not in (*FABRICS, SERVERS):
        raise TopologyError(
            f"unknown fabric {nearest(fabric, (*FABRICS, SERVERS))} "
            f"(allowed: {AUTO}, {SERVERS}, {', '.join(FABRICS)})"
        )
    kind = FABRICS.get(fabric, DEFAULT_KIND)
    if hardware.kind != kind:
        raise TopologyError(
            f"fabric {fabric} joins hardware of kind {kind}, and {hardware.name} is of kind "
            f"{hardware.kind}: leave the fabric out"
        )
    if hardware.nic and fabric != SERVERS:
        raise TopologyError(
            f"fabric {fabric} has NICs of its own between nodes, found {hardware.name}: leave the "
            "NIC or the fabric out"
        )
    if hardware.fabric:
        raise TopologyError(
            f"{hardware.name} is on the fabric {hardware.fabric}, found fabric {fabric}: leave it "
            "out, or name other hardware"
        )


def joined(hardware: Hardware, fabric: Hardware) -> Hardware:
    """The hardware with a fabric's figures in place of its own."""
    return replace(
        hardware,
        name=f"{hardware.name}-{fabric.name}",
        title=f"{hardware.title} in a {fabric.title}",
        fabric=fabric.fabric,
        sources={**hardware.sources, **fabric.sources},
        figures={**hardware.figures, **fabric.figures},
    )
