"""Groups and sends of one map, made once and shared by all plans on it."""

from dataclasses import dataclass, field

from cluster.perf_model.collectives.cost import SendCost, send_cost
from cluster.perf_model.collectives.fabric import fabric_of
from cluster.perf_model.collectives.group import Group, group_of
from cluster.perf_model.protocols import Figures, RouteTables
from corsair_common.lru import LruCache, Same
from corsair_common.units import Integers


@dataclass(slots=True, kw_only=True, eq=False)
class SharedCosts:
    """Costs on one map; groups of equal cost are one and the same object."""

    hardware: Figures
    routes: RouteTables
    _links: dict[bytes, bytes] = field(default_factory=dict)
    """By cards, in order: the key of equal cost of their collectives."""
    _equal: dict[bytes, bytes] = field(default_factory=dict)
    _groups: dict[tuple[bytes, float], Group] = field(default_factory=dict)
    _sends: dict[tuple[bytes, bytes], SendCost] = field(default_factory=dict)

    def links(self, cards: Integers) -> bytes:
        """Key of equal cost of collectives between ``cards``, in this order."""
        of = cards.tobytes()
        if of not in self._links:
            key = fabric_of(self.hardware, self.routes, cards).cost_key
            self._links[of] = self._equal.setdefault(key, key)
        return self._links[of]

    def group(self, cards: Integers, wire_bits: float) -> Group:
        """A group whose collectives cost as much as those of ``cards``."""
        key = self.links(cards), wire_bits
        if key not in self._groups:
            self._groups[key] = group_of(
                self.hardware, self.routes, cards.tolist(), wire_bits=wire_bits
            )
        return self._groups[key]

    def send(self, sources: Integers, destinations: Integers) -> SendCost:
        """Cost of ``collectives.send`` between these cards."""
        key = sources.tobytes(), destinations.tobytes()
        if key not in self._sends:
            self._sends[key] = send_cost(self.hardware, self.routes, sources, destinations)
        return self._sends[key]


def shared_costs(hardware: Figures, routes: RouteTables) -> SharedCosts:
    """The costs of a map, kept for the maps of the last few calls."""
    return _MAPS.get(
        (Same(hardware), Same(routes)), lambda: SharedCosts(hardware=hardware, routes=routes)
    )


_MAPS: LruCache[SharedCosts] = LruCache(4)
