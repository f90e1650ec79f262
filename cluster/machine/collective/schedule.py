"""A collective as a sequence of phases, and its time for many payloads and chunk counts at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.machine.collective.fabric import Floats, Step
from cluster.machine.collective.group import Group


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phase:
    """One step, done ``times`` times over, each time with ``share`` of the payload as its unit."""

    step: Step
    share: float
    add_share: float
    """Part of the payload that each rank adds to its own, each time; 0 where nothing is reduced."""
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """Phases summed up; a payload of B bytes in c chunks takes ``seconds(B, c)``."""

    algorithm: int
    fixed_s: float
    """Latencies and message overheads of the first chunk."""
    serial_s_per_byte: float
    """All phases one after the other, adds included."""
    busy_s: Floats
    """[line] what one further chunk costs however small it is, per resource that can be busiest."""
    busy_s_per_byte: Floats
    """[line] and what it costs per byte of the chunk."""
    tier_bytes: Floats
    """[tier] bytes per card and byte of payload."""

    def seconds(self, payload_bytes: Floats, chunks: int) -> Floats:
        """The first chunk takes every phase in turn; each further one the busiest resource."""
        chunk_bytes = payload_bytes / chunks
        total = self.fixed_s + self.serial_s_per_byte * chunk_bytes
        if chunks > 1:
            busiest = np.zeros_like(chunk_bytes)
            for fixed, slope in zip(self.busy_s, self.busy_s_per_byte, strict=True):
                np.maximum(busiest, fixed + slope * chunk_bytes, out=busiest)
            total += (chunks - 1) * busiest
        return total


def schedule_of(group: Group, algorithm: int, phases: Sequence[Phase]) -> Schedule:
    """Sum the phases per resource; upward and downward phases of a tier share its links."""
    resources = group.tiers[0].step.busy_s_per_byte.size
    busy_s, slope = np.zeros(resources + 1), np.zeros(resources + 1)
    tier_bytes = np.zeros_like(group.tiers[0].step.tier_bytes)
    fixed_s, serial = 0.0, 0.0
    for phase in phases:
        step, times = phase.step, phase.times
        issue_s = step.messages * group.message_s
        add_s_per_byte = phase.add_share * group.add_s_per_byte
        fixed_s += times * (step.latency_s + issue_s)
        serial += times * (phase.share * step.slowest_s_per_byte + add_s_per_byte)
        busy_s[:-1] += times * issue_s * (step.busy_s_per_byte > 0)
        slope[:-1] += times * phase.share * step.busy_s_per_byte
        slope[-1] += times * add_s_per_byte
        tier_bytes += times * phase.share * step.tier_bytes
    lines = _upper_lines(busy_s, slope)
    return Schedule(
        algorithm=algorithm,
        fixed_s=fixed_s,
        serial_s_per_byte=serial,
        busy_s=lines[:, 0],
        busy_s_per_byte=lines[:, 1],
        tier_bytes=tier_bytes,
    )


def _upper_lines(fixed: Floats, slope: Floats) -> npt.NDArray[np.float64]:
    """[line, 2] the lines that no other line lies above everywhere (payloads are positive)."""
    lines = np.unique(np.stack([slope, fixed], axis=1), axis=0)[::-1]
    highest = np.maximum.accumulate(lines[:, 1])
    keep = np.concatenate([[True], lines[1:, 1] > highest[:-1]])
    return np.ascontiguousarray(lines[keep][:, ::-1])
