"""Programs and fabrics for the replay engines: made by hand, and random ones for hypothesis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
from hypothesis import strategies as st

from cluster.perf_model.collectives import FULL, Transfers
from cluster.replay.interface import MOST_BINS, Kind, Operations
from corsair_common.units import Integers

Row: TypeAlias = dict[str, Any]
"""Some columns of an operation; what it leaves out is as in ``BLANK``."""

BLANK: Row = {
    "rank": 0,
    "stream": 0,
    "kind": Kind.WORK,
    "duration_ps": 0,
    "transfer": -1,
    "group": -1,
    "peer": -1,
    "tag": 0,
    "passive": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """All that an engine is given."""

    operations: Operations
    transfers: Transfers
    contended: bool = True
    most_bins: int = MOST_BINS


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A row of ``Transfers``, with its (share, bytes) of every resource that it uses."""

    latency_ps: int = 0
    work_ps: int = 1
    peak: float = 1.0
    then: int = -1
    uses: Mapping[int, tuple[int, int]]


@pytest.fixture(scope="session")
def program() -> Callable[..., Operations]:
    """Operations from rows; a row may name ``deps``."""
    return lay_out


@pytest.fixture(scope="session")
def wires() -> Callable[..., Transfers]:
    """Legs that need the whole of links that carry a byte a picosecond, or of faster ones.

    Each is a dict of ``links`` (numbers), ``size_bytes``, ``latency_ps`` and ``then``.
    """
    return lambda *legs: tabulate([wire(**leg) for leg in legs])


@pytest.fixture(scope="session")
def shared_legs() -> Callable[..., Transfers]:
    """Legs of any kind: dicts of the columns, ``uses`` being {resource: (share, bytes)}."""
    return lambda *legs: tabulate([Leg(**leg) for leg in legs])


@pytest.fixture(scope="session")
def replay_problems() -> st.SearchStrategy[Problem]:
    """Programs and fabrics that exercise every rule of replay."""
    return problems()


def lay_out(rows: Sequence[Row], groups: Sequence[Sequence[int]] = ()) -> Operations:
    """Columns of ``rows``, in their order."""
    deps = [list(row.get("deps", ())) for row in rows]
    columns: dict[str, Any] = {
        name: np.array([row.get(name, blank) for row in rows], np.int64)
        for name, blank in BLANK.items()
    }
    return Operations(
        **columns,
        dep_offsets=offsets_of(deps),
        deps=np.array([dep for waited in deps for dep in waited], np.int64),
        group_offsets=offsets_of(groups),
        group_ranks=np.array([rank for group in groups for rank in group], np.int64),
    )


def wire(
    *, links: Sequence[int] = (0,), size_bytes: int, latency_ps: int = 0, then: int = -1
) -> Leg:
    return Leg(
        latency_ps=latency_ps,
        work_ps=size_bytes,
        then=then,
        uses=dict.fromkeys(links, (FULL, size_bytes)),
    )


def tabulate(legs: Sequence[Leg]) -> Transfers:
    """Columns of ``legs``, over as many resources as they name."""
    uses = [(resource, *use) for leg in legs for resource, use in sorted(leg.uses.items())]
    resource, share, size_bytes = np.array(uses, np.int64).reshape(-1, 3).T.copy()
    resources = int(resource.max(initial=-1)) + 1
    return Transfers(
        latency_ps=np.array([leg.latency_ps for leg in legs], np.int64),
        work_ps=np.array([leg.work_ps for leg in legs], np.int64),
        peak=np.array([leg.peak for leg in legs], np.float64),
        then=np.array([leg.then for leg in legs], np.int64),
        use_offsets=offsets_of([list(leg.uses) for leg in legs]),
        use_resource=resource,
        use_share=share,
        use_bytes=size_bytes,
        resource_name=np.array([f"link {number}" for number in range(resources)]),
        capacity_bytes_per_s=np.full(resources, 1e12),
    )


def offsets_of(lists: Sequence[Sequence[int]]) -> Integers:
    return np.cumsum([0, *map(len, lists)]).astype(np.int64)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw what the ranks do (it shrinks well), and the fabric from a seed (it need not).

    Rows stand in an order that can be carried out, until every other problem is spoilt: two rows
    of a rank change places, one is lost, or one waits for a later one.
    """
    ranks = draw(st.sampled_from([2, 8, 6, 4, 1]))
    groups = draw(
        st.lists(st.sets(st.integers(0, ranks - 1), min_size=1).map(sorted), min_size=1, max_size=4)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    legs = random_legs(
        rng, draw(st.sampled_from([1, 3, 12])), draw(st.sampled_from([1, 2, 3, 4, 8]))
    )
    least = draw(st.sampled_from([1, 20, 20]))
    acts = draw(st.lists(st.binary(min_size=9, max_size=9), min_size=least, max_size=40))
    rows = [row for act in map(decode, acts) for row in enact(act, ranks, groups, len(legs))]
    rows = add_deps(rng, interleave(rng, rows), draw(st.sampled_from([0, 0, 5, 20])))
    spoil = draw(st.sampled_from([None, None, None, swapped, shortened, tangled]))
    if spoil is not None:
        rows = spoil(rng, rows)
    return Problem(
        operations=lay_out(rows, groups),
        transfers=tabulate(legs),
        contended=draw(st.sampled_from([True, True, True, False])),
        most_bins=draw(st.sampled_from([2, 6, MOST_BINS])),
    )


class Act(NamedTuple):
    """Something that one rank, two or a whole group do together."""

    what: str
    rank: int
    partner: int
    """The other rank, or the group."""
    stream: int
    other_stream: int
    duration_ps: int
    leg: int
    tag: int
    variant: int
    """The passive members, and the members that name the transfer."""


CHOICES: tuple[Sequence[Any], ...] = (
    ("work", "message", "message", "message", "collective"),
    range(8),
    range(8),
    range(5),
    range(5),
    (0, 0, 0, 0, 1, 2, 7, 40),
    range(-1, 12),
    (0, 0, 1, -5),
    range(4),
)
"""Of each field of an act."""


def decode(drawn: bytes) -> Act:
    """A byte for each choice; to draw them one by one would take most of the test's time."""
    return Act(
        *(choices[byte % len(choices)] for choices, byte in zip(CHOICES, drawn, strict=True))
    )


def enact(act: Act, ranks: int, groups: list[list[int]], legs: int) -> list[Row]:
    """The rows of an act: some work, both ends of a message, or a collective of a group."""
    base: Row = {
        "stream": act.stream,
        "duration_ps": act.duration_ps,
        "tag": act.tag,
        "transfer": min(act.leg, legs - 1),
    }
    if act.what == "collective":
        group = act.partner % len(groups)
        return collective(act, {**base, "group": group}, groups[group])
    rank, peer = act.rank % ranks, act.partner % ranks
    if act.what == "work":
        return [{"rank": rank, "stream": act.stream, "duration_ps": act.duration_ps}]
    clash = rank == peer and act.stream == act.other_stream
    send = {**base, "rank": rank, "peer": peer, "kind": Kind.SEND}
    receive = {
        **base,
        "rank": peer,
        "peer": rank,
        "kind": Kind.RECV,
        "stream": act.other_stream + clash,
        "passive": act.variant % 2,
        "transfer": base["transfer"] if act.variant > 1 else -1,
    }
    return [send, receive]


def collective(act: Act, base: Row, members: list[int]) -> list[Row]:
    """A row of every member, each in its own time; in one variant all but one are passive."""
    driver, silent = act.rank % len(members), act.variant == 2
    return [
        {
            **base,
            "rank": rank,
            "kind": Kind.COLLECTIVE,
            "duration_ps": act.duration_ps * (rank % 3),
            "passive": int(act.variant == 3 and position != driver),
            "transfer": -1 if silent and position != driver else base["transfer"],
        }
        for position, rank in enumerate(members)
    ]


def random_legs(rng: np.random.Generator, count: int, resources: int) -> list[Leg]:
    """Times small enough to coincide, or long enough for many bins; shares that divide badly."""
    longest = int(rng.choice([3, 20, 60, 1000, 10**6, 2 * 10**8, 8 * 10**15, 8 * 10**15]))
    peaks = rng.choice([1.0, 0.5, 0.1, 1 / 3, 2.75, float(rng.random()) + 1e-3], 3)
    legs = []
    for leg in range(count):
        used = np.flatnonzero(rng.random(resources) < rng.choice([0.5, 0.8, 1.0]))
        shares = rng.choice([FULL, FULL, FULL // 2, FULL // 3, FULL - 1, 1, 0], len(used))
        shares = np.where(shares == 0, rng.integers(1, FULL + 1, len(used)), shares)
        sizes = rng.choice([0, 1, 3, 1000, 10**9 + 7, 2**52 - 1], len(used))
        least = 1 if len(used) else 0
        later = int(rng.integers(leg + 1, count)) if leg + 1 < count else -1
        legs.append(
            Leg(
                latency_ps=int(rng.choice([0, 0, 1, 2, longest])),
                work_ps=longest if rng.random() < 0.5 else int(rng.integers(least, longest + 1)),
                peak=float(rng.choice(peaks)),
                then=later if rng.random() < 0.3 else -1,
                uses={
                    int(resource): (int(share), int(size))
                    for resource, share, size in zip(used, shares, sizes, strict=True)
                },
            )
        )
    return legs


def interleave(rng: np.random.Generator, rows: list[Row]) -> list[Row]:
    """The rows of each rank in their order, those of different ranks in any."""
    mixed = rng.permutation([row["rank"] for row in rows]).tolist()
    queues = {rank: iter([row for row in rows if row["rank"] == rank]) for rank in mixed}
    place = {id(row): number for number, row in enumerate(rows)}
    return [{**row, "place": place[id(row)]} for row in (next(queues[rank]) for rank in mixed)]


def add_deps(rng: np.random.Generator, rows: list[Row], count: int) -> list[Row]:
    """Let ``count`` rows wait for others that come before them in the order that works.

    Rows of one act stand side by side in that order and may not wait for each other.
    """
    linked = [{**row, "deps": []} for row in rows]
    for _ in range(count):
        one, other = rng.integers(0, len(rows), 2)
        if rows[one]["place"] + 6 < rows[other]["place"]:
            linked[other]["deps"].append(int(one))
    return linked


def swapped(rng: np.random.Generator, rows: list[Row]) -> list[Row]:
    """Two rows of one rank change places."""
    rank = rng.choice([row["rank"] for row in rows])
    one, other = rng.choice([number for number, row in enumerate(rows) if row["rank"] == rank], 2)
    changed = list(rows)
    changed[one], changed[other] = rows[other], rows[one]
    return changed


def shortened(rng: np.random.Generator, rows: list[Row]) -> list[Row]:
    """A row becomes work: its call is never made."""
    lost = int(rng.integers(0, len(rows)))
    work = {name: rows[lost][name] for name in ("rank", "stream", "duration_ps", "deps")}
    return [*rows[:lost], work, *rows[lost + 1 :]]


def tangled(rng: np.random.Generator, rows: list[Row]) -> list[Row]:
    """A row waits for any other, or for itself."""
    one, other = rng.integers(0, len(rows), 2)
    changed = list(rows)
    changed[one] = {**rows[one], "deps": [*rows[one]["deps"], int(other)]}
    return changed
