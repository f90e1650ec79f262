"""Plain networks in ASTRA-sim's network YAML: ranks as endpoints, links and paths between them.

::

    topology: [Ring, Switch]      # dimension by dimension, the innermost first
    npus_count: [4, 2]            # 8 ranks; rank = position in the first + 4 x that in the second
    bandwidth: [50.0, 25.0]       # GB/s of each link in each direction, 1 GB = 2^30 bytes
    latency: [500, 1000]          # ns of each link

Conventions of its congestion-aware analytical backend (astra-sim/astra-network-analytical):
a GB is 2^30 bytes (common/NetworkFunction, bw_GBps_to_Bpns); rings are bidirectional, and a message
takes the shorter direction, the ascending one on ties (Ring); a switch is two links away from each
of its ranks, so its latency is paid twice (Switch); a message goes dimension by dimension, the
first one first (MultiDimTopology); a dimension has at least two ranks (NetworkParser).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats, Indices, Integers
from topology.catalog.figures import nearest
from topology.strict_yaml import Document, read_document
from topology.types import TopologyError

GB = 1 << 30
SHAPES = ("Ring", "FullyConnected", "Switch")
MOST_LINKS = 1 << 21
LARGEST = 1e12
"""Beyond this a bandwidth or latency is a mistake."""
_KEYS = ("topology", "npus_count", "bandwidth", "latency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """All links of one dimension; they are alike."""

    shape: str
    """One of SHAPES."""
    size: int
    stride: int
    """Difference between the numbers of neighbouring ranks."""
    first_link: int
    """Each rank has ``links_per_rank`` links from here on, rank 0 first."""
    bandwidth_bytes_per_s: float
    latency_ps: int

    @property
    def links_per_rank(self) -> int:
        """Links numbered with a rank: those that leave it, and the switch's link down to it."""
        if self.shape == "Switch":
            return 2
        return min(self.size - 1, 2) if self.shape == "Ring" else self.size - 1

    def position(self, rank: Any) -> Any:
        """Position of a rank (or ranks) in this dimension."""
        return rank // self.stride % self.size

    def hops(self, src: Integers, dst: Integers) -> Integers:
        """Links crossed between positions ``src`` and ``dst`` (shapes broadcast)."""
        apart: Integers = (dst - src) % self.size
        if self.shape == "Ring":
            return np.minimum(apart, self.size - apart)
        return np.where(apart > 0, 2 if self.shape == "Switch" else 1, 0)

    def steps(self, rank: int, target: int) -> Iterator[int]:
        """Yield the links from ``rank`` to the rank that has position ``target`` instead."""
        here = self.position(rank)
        there = rank + (target - here) * self.stride
        if self.shape == "Switch":
            yield self._link(rank, 0)
            yield self._link(there, 1)
        elif self.shape == "FullyConnected":
            yield self._link(rank, target - (target > here))
        else:
            rising = (target - here) % self.size
            step = 1 if 2 * rising <= self.size else -1
            while here != target:
                yield self._link(rank + (here - self.position(rank)) * self.stride, step < 0)
                here = (here + step) % self.size

    def _link(self, rank: int, which: int) -> int:
        return self.first_link + rank * self.links_per_rank + which


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """R ranks over L directed links. Paths are computed, not stored."""

    name: str
    ranks: int
    dimensions: tuple[Dimension, ...]
    link_name: npt.NDArray[np.str_]
    """[L] ``source>target``; a switch is called ``sw<dimension>.<number>``."""
    link_dimension: npt.NDArray[np.int8]
    """[L] from 0"""
    link_bandwidth_bytes_per_s: Floats
    link_latency_ps: Integers

    def path(self, src: int, dst: int) -> Indices:
        """The links that a message from rank ``src`` to rank ``dst`` crosses, in order."""
        links: list[int] = []
        here = src
        for dimension in self.dimensions:
            target = dimension.position(dst)
            if (start := dimension.position(here)) != target:
                links += dimension.steps(here, target)
                here += (target - start) * dimension.stride
        return np.array(links, np.int32)

    def latency_ps(self, src: npt.ArrayLike, dst: npt.ArrayLike) -> Integers:
        """Latencies of the paths from ranks ``src`` to ranks ``dst`` (shapes broadcast)."""
        start, end = np.broadcast_arrays(np.asarray(src, np.int64), np.asarray(dst, np.int64))
        total = np.zeros(start.shape, np.int64)
        for each in self.dimensions:
            total += each.latency_ps * each.hops(each.position(start), each.position(end))
        return total


def read_network(path: str | Path) -> Network:
    """Read a network file.

    Raises
    ------
    TopologyError
        Every error of the file with its line; or more than MOST_LINKS links.
    DocumentError
        The file is not one plain YAML document.
    """
    document = read_document(path)
    if breaches := list(_breaches(document)):
        raise TopologyError("\n".join(breaches))
    data = document.mapping()
    dimensions = _dimensions(data)
    ranks = prod(each.size for each in dimensions)
    links = ranks * sum(each.links_per_rank for each in dimensions)
    if links > MOST_LINKS:
        raise TopologyError(
            f"{document.where(('npus_count',))}: {ranks:,} ranks make {links:,} links; "
            f"at most {MOST_LINKS:,} are simulated"
        )
    return _network(Path(path).stem, ranks, dimensions)


def _dimensions(data: dict[str, Any]) -> tuple[Dimension, ...]:
    made: list[Dimension] = []
    ranks, stride, first_link = prod(data["npus_count"]), 1, 0
    for shape, size, bandwidth, latency in zip(*(data[key] for key in _KEYS), strict=True):
        dimension = Dimension(
            shape=shape,
            size=size,
            stride=stride,
            first_link=first_link,
            bandwidth_bytes_per_s=float(bandwidth * GB),
            latency_ps=round(Decimal(repr(latency)) * 1000),
        )
        made.append(dimension)
        stride *= size
        first_link += ranks * dimension.links_per_rank
    return tuple(made)


def _network(name: str, ranks: int, dimensions: tuple[Dimension, ...]) -> Network:
    names = [
        link
        for number, dimension in enumerate(dimensions)
        for rank in range(ranks)
        for link in _names(number, dimension, rank)
    ]
    counts = [ranks * each.links_per_rank for each in dimensions]
    return Network(
        name=name,
        ranks=ranks,
        dimensions=dimensions,
        link_name=np.array(names, np.str_),
        link_dimension=np.repeat(np.arange(len(dimensions), dtype=np.int8), counts),
        link_bandwidth_bytes_per_s=np.repeat(
            [each.bandwidth_bytes_per_s for each in dimensions], counts
        ),
        link_latency_ps=np.repeat(
            np.array([each.latency_ps for each in dimensions], np.int64), counts
        ),
    )


def _names(number: int, dimension: Dimension, rank: int) -> Iterator[str]:
    """The names of a rank's links, in the order of their numbers."""
    size, stride = dimension.size, dimension.stride
    here = dimension.position(rank)
    if dimension.shape == "Switch":
        switch = f"sw{number}.{rank // (stride * size) * stride + rank % stride}"
        yield f"{rank}>{switch}"
        yield f"{switch}>{rank}"
        return
    if dimension.shape == "Ring":
        others = [(here + 1) % size, (here - 1) % size][: dimension.links_per_rank]
    else:
        others = [place for place in range(size) if place != here]
    for place in others:
        yield f"{rank}>{rank + (place - here) * stride}"


def _breaches(document: Document) -> Iterator[str]:
    data = document.mapping()
    for key in data:
        if key not in _KEYS:
            yield (
                f"{document.where((key,))}: unknown key {nearest(key, _KEYS)} "
                f"(allowed: {', '.join(_KEYS)})"
            )
    for key in _KEYS:
        if key not in data:
            yield f"{document.where()}: {key} is missing"
        elif not isinstance(data[key], list) or not data[key]:
            yield f"{document.where((key,))}: {key} must be a list, one entry for each dimension"
        else:
            yield from _wrong_entries(document, key, data[key])
    shapes = data.get("topology")
    if isinstance(shapes, list):
        for key in _KEYS[1:]:
            if isinstance(data.get(key), list) and len(data[key]) != len(shapes):
                yield (
                    f"{document.where((key,))}: {key} has {len(data[key])} entries, "
                    f"topology has {len(shapes)}"
                )


def _wrong_entries(document: Document, key: str, entries: list[Any]) -> Iterator[str]:
    for index, entry in enumerate(entries):
        where = document.where((key, index))
        if key == "topology":
            if entry not in SHAPES:
                found = nearest(str(entry), SHAPES)
                yield f"{where}: unknown topology {found} (allowed: {', '.join(SHAPES)})"
        elif key == "npus_count":
            if type(entry) is not int or entry < 2:
                yield f"{where}: npus_count must be a whole number from 2, found {entry!r}"
        elif not _is_rate(entry) or (key == "bandwidth" and not entry > 0):
            least = "positive" if key == "bandwidth" else "0 or more"
            yield f"{where}: {key} must be {least} and less than {LARGEST:g}, found {entry!r}"


def _is_rate(entry: Any) -> bool:
    return type(entry) in (int, float) and 0 <= entry < LARGEST  # which NaN is not
