"""A directed graph with NetworkX's interface, as far as topologies use it.

NetworkX takes a tenth of a second to import, mostly for algorithms that no run needs;
``networkx_of`` converts for its formats and algorithms. Orders are NetworkX's: nodes as added, and
the edges of each in the order in which they were added to it.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload

if TYPE_CHECKING:
    import networkx as nx

Data: TypeAlias = dict[str, Any]
Edge: TypeAlias = tuple[str, str]


class DiGraph:
    """Nodes and edges by name, each with attributes; ``graph`` has those of the whole."""

    def __init__(self, **attributes: Any) -> None:
        self.graph: Data = attributes
        self._node: dict[str, Data] = {}
        self._next: dict[str, dict[str, Data]] = {}
        self._before: dict[str, dict[str, None]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._node

    def __iter__(self) -> Iterator[str]:
        return iter(self._node)

    def __len__(self) -> int:
        return len(self._node)

    @property
    def name(self) -> str:
        return str(self.graph.get("name", ""))

    @property
    def nodes(self) -> "Nodes":
        return Nodes(self._node)

    @property
    def edges(self) -> "Edges":
        return Edges(self._next)

    def add_node(self, name: str, **data: Any) -> None:
        """Add a node, or more attributes to it."""
        if name not in self._node:
            self._node[name], self._next[name], self._before[name] = {}, {}, {}
        self._node[name].update(data)

    def add_nodes_from(self, nodes: Iterable[tuple[str, Data]]) -> None:
        for name, data in nodes:
            self.add_node(name, **data)

    def add_edge(self, source: str, target: str, **data: Any) -> None:
        """Add an edge with its ends, or more attributes to it."""
        self.add_node(source)
        self.add_node(target)
        self._next[source].setdefault(target, {}).update(data)
        self._before[target][source] = None

    def add_edges_from(self, edges: Iterable[tuple[str, str, Data]]) -> None:
        for source, target, data in edges:
            self.add_edge(source, target, **data)

    def remove_node(self, name: str) -> None:
        """Remove a node and its edges."""
        for target in self._next.pop(name):
            self._before[target].pop(name, None)
        for source in self._before.pop(name):
            if source != name:
                del self._next[source][name]
        del self._node[name]

    def remove_nodes_from(self, names: Iterable[str]) -> None:
        """Remove those of them that there are."""
        for name in names:
            if name in self._node:
                self.remove_node(name)

    def remove_edge(self, source: str, target: str) -> None:
        del self._next[source][target]
        del self._before[target][source]

    def remove_edges_from(self, edges: Iterable[Edge]) -> None:
        """Remove those of them that there are."""
        for source, target in edges:
            if self.has_edge(source, target):
                self.remove_edge(source, target)

    def has_edge(self, source: str, target: str) -> bool:
        return source in self._next and target in self._next[source]

    def successors(self, name: str) -> Iterator[str]:
        return iter(self._next[name])

    def out_edges(self, name: str, *, data: bool = False) -> list[Any]:
        found = self._next[name].items()
        return [(name, other, each) if data else (name, other) for other, each in found]

    def in_edges(self, name: str) -> list[Edge]:
        return [(other, name) for other in self._before[name]]

    def degree(self, name: str) -> int:
        """Edges that leave and edges that arrive."""
        return len(self._next[name]) + len(self._before[name])

    def number_of_nodes(self) -> int:
        return len(self._node)

    def number_of_edges(self) -> int:
        return len(self.edges)

    def copy(self) -> Self:
        """A copy with attributes of its own."""
        made = self.__class__(**self.graph)
        made.add_nodes_from(self._node.items())
        made.add_edges_from(self.edges(data=True))
        return made

    def components(self, names: Iterable[str]) -> list[set[str]]:
        """Parts of these nodes that no edge joins, whatever its direction."""
        left, parts = dict.fromkeys(names), list[set[str]]()
        while left:
            part, edge = set[str](), [next(iter(left))]
            while edge:
                name = edge.pop()
                if name in left:
                    del left[name]
                    part.add(name)
                    edge += [*self._next[name], *self._before[name]]
            parts.append(part)
        return parts


class Nodes:
    """Attributes by name; called with ``data``, pairs of both."""

    def __init__(self, node: dict[str, Data]) -> None:
        self._node = node

    def __getitem__(self, name: str) -> Data:
        return self._node[name]

    def __contains__(self, name: object) -> bool:
        return name in self._node

    def __iter__(self) -> Iterator[str]:
        return iter(self._node)

    def __len__(self) -> int:
        return len(self._node)

    def __call__(self, *, data: Literal[True]) -> list[tuple[str, Data]]:
        del data
        return list(self._node.items())


class Edges:
    """Attributes by both ends; called with ``data``, all three."""

    def __init__(self, following: dict[str, dict[str, Data]]) -> None:
        self._next = following

    def __getitem__(self, edge: Edge) -> Data:
        return self._next[edge[0]][edge[1]]

    def __contains__(self, edge: object) -> bool:
        return isinstance(edge, tuple) and edge[1] in self._next.get(edge[0], {})

    def __iter__(self) -> Iterator[Edge]:
        return ((source, target) for source, ends in self._next.items() for target in ends)

    def __len__(self) -> int:
        return sum(map(len, self._next.values()))

    @overload
    def __call__(self) -> list[Edge]: ...
    @overload
    def __call__(self, *, data: Literal[True]) -> list[tuple[str, str, Data]]: ...
    def __call__(self, *, data: bool = False) -> list[Any]:
        if not data:
            return list(self)
        return [(source, target, self._next[source][target]) for source, target in self]


def networkx_of(graph: DiGraph) -> "nx.DiGraph[str]":
    """The same graph for NetworkX's algorithms and formats."""
    import networkx as nx

    made: nx.DiGraph[str] = nx.DiGraph(**graph.graph)
    made.add_nodes_from(graph.nodes(data=True))
    made.add_edges_from(graph.edges(data=True))
    return made
