"""All legs that share the fabric at a time."""

from collections.abc import Sequence

from cluster.replay.reference.max_min import fair_speeds
from cluster.replay.reference.transfer_legs import Flow


class Fabric:
    """Tracks the active flows and recomputes speeds after each instant."""

    def __init__(self, *, contended: bool) -> None:
        self.contended = contended
        self.active: dict[int, Flow] = {}
        """By matched call, which has one active leg at a time."""
        self.flows: list[Flow] = []
        """All that ever were."""
        self._changed = False

    def enter(self, flow: Flow) -> None:
        self.active[flow.matched_call] = flow
        self.flows.append(flow)
        self._changed = True

    def next_leave_ps(self) -> int | None:
        """When the next flow leaves, of those that have a speed."""
        times = [flow.leave_ps for flow in self.active.values() if flow.leave_ps is not None]
        return min(times, default=None)

    def take_leaving(self, now_ps: int) -> Sequence[Flow]:
        """Remove the flows that end now."""
        leaving = [flow for flow in self.active.values() if flow.leave_ps == now_ps]
        for flow in leaving:
            del self.active[flow.matched_call]
        self._changed |= bool(leaving)
        return leaving

    def find_speeds(self, now_ps: int) -> Sequence[Flow]:
        """Set the speed of every active flow; return them all."""
        if not self._changed:
            return ()
        self._changed = False
        flows = list(self.active.values())
        speeds = fair_speeds(flows) if self.contended else dict.fromkeys(flows, 1.0)
        for flow, speed in speeds.items():
            flow.go_on(speed, now_ps)
        return flows
