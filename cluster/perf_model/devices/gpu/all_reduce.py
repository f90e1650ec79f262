"""All-reduce in a scale-up network, by whichever of the engines' kernels is fastest.

    latency = all_reduce_latency_s x (1 + all_reduce_latency_growth x log2 n)
    one shot:       latency +         (n - 1) x payload / rate     every GPU reads all others'
    two shots:  2 x latency + 2 (n - 1) / n x payload / rate       it reduces a part, reads the rest
    in the switch:  switch_all_reduce_latency_s + (n + 1) / n x payload / rate    where it can add

The constants were fitted on measured curves of kernels that engines capture in their graphs.
Other groups (several servers, PCIe) go the collectives library's way.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.devices.gpu.constants import has
from cluster.perf_model.devices.work import whole
from cluster.perf_model.protocols import Figures
from corsair_common.units import PS_PER_S, Integers
from topology.types import SCALE_UP

if TYPE_CHECKING:
    from cluster.perf_model.collectives import Cost, Group


def all_reduce(figures: Figures, group: "Group", payload_bytes: Integers) -> "Cost | None":
    """None where the group does not lie in one scale-up network."""
    from cluster.perf_model.collectives import Cost  # which reads devices

    names = [kind.name.lower() for kind in SCALE_UP]
    if len(group.tiers) != 1 or group.tiers[0].name not in names:
        return None
    payload, gpus = np.asarray(payload_bytes, np.float64), group.ranks
    grown = 1 + figures["gpu.all_reduce_latency_growth"] * math.log2(gpus)
    latency_s = figures["gpu.all_reduce_latency_s"] * grown
    rate = bandwidth(figures, group) * figures["gpu.all_reduce_bandwidth_efficiency"]
    ways = [(latency_s, gpus - 1.0), (2 * latency_s, 2 * (gpus - 1) / gpus)]
    if has(figures, "gpu.switch_all_reduce_latency_s"):
        ways.append((figures["gpu.switch_all_reduce_latency_s"], (gpus + 1) / gpus))
    taken = np.stack([fixed_s + copies * payload / rate for fixed_s, copies in ways])
    best, seconds = np.argmin(taken, axis=0), taken.min(axis=0)
    sent = payload * np.array([copies for _, copies in ways])[best]
    tier_bytes = np.zeros((payload.size, group.fabric.tiers), np.int64)
    used = group.fabric.card_tier[0, 1]  # all pairs of such a group meet in one tier
    tier_bytes[:, used] = np.rint(sent)
    ps, tier_ps = whole(np.where(payload > 0, seconds * PS_PER_S, 0.0)), np.zeros_like(tier_bytes)
    tier_ps[:, used] = ps
    return Cost(ps=ps, tier_bytes=tier_bytes, tier_ps=tier_ps)


def bandwidth(figures: Figures, group: "Group") -> float:
    """Bytes per second that a GPU sends into its scale-up network, all of ``group`` taking part.

    The slowest of their links sets the pace of all.
    """
    slowest = 1 / float(group.fabric.link_s_per_byte.max()) / figures["links.efficiency"]
    return slowest * (group.ranks - 1 if has(figures, "mesh.gpus") else 1)
