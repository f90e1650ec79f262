"""A small LRU cache, and keys of objects that cannot be hashed."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Same:
    """An object as a part of a key, equal only to itself; it is kept alive, so that its id is not
    reused."""

    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held

    def __hash__(self) -> int:
        return id(self.held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.held is other.held


class LruCache(Generic[Value]):
    """Keeps the most recently used: at most ``count`` values and ``weight`` bytes, at least one."""

    def __init__(
        self, count: int, weight: int = 2**62, weigh: Callable[[Value], int] = lambda _: 0
    ) -> None:
        self._count = count
        self._weight = weight
        self._weigh = weigh
        self._held: OrderedDict[Hashable, Value] = OrderedDict()
        self._total = 0

    def __len__(self) -> int:
        return len(self._held)

    def find(self, key: Hashable) -> Value | None:
        """The value of a key, now most recently used; None if absent."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key]

    def keep(self, key: Hashable, value: Value) -> Value:
        """Store a value, and evict the least recently used."""
        if key in self._held:
            self._total -= self._weigh(self._held.pop(key))
        self._held[key] = value
        self._total += self._weigh(value)
        while len(self._held) > 1 and (len(self._held) > self._count or self._total > self._weight):
            _, dropped = self._held.popitem(last=False)
            self._total -= self._weigh(dropped)
        return value

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, created if absent."""
        found = self.find(key)
        return self.keep(key, make()) if found is None else found

    def clear(self) -> None:
        """Clear the cache."""
        self._held.clear()
        self._total = 0
