"""Waits due to bursts of arrivals, from a fluid model driven by the arrivals themselves.

Indices of dispersion describe bursts at one time scale, and real traffic has them at all: the
queue's own recursion is therefore run on the recorded arrivals, in bins of equal time, for a grid
of loads, and on as many independent arrivals of the same requests. The difference is due to bursts;
the score adds it to the waits of independent arrivals (docs/decisions/0026).

Two queues are modelled. The prefill of a replica is one server, whose work is prompt tokens. Its
slots are a server that all requests share, and that slows down with their number, until all are
taken; its work is a mix of prompt and output tokens. Time is counted in mean gaps between arrivals.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from cluster.compiled import called, compiled
from corsair_common.units import Floats, Integers

LOADS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.98])
"""Offered work over the work that can be done."""
SLOT_LOADS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.88, 0.94, 0.98])
SLOTS = 2.0 ** np.arange(0.0, 14.0, 1.5)
"""Slots of all replicas together."""
LONE = np.array([0.1, 0.6])
"""Time of a lone request over that of one among full slots."""
MIXES = np.array([0.0, 0.3, 0.6, 0.8, 1.0])
"""Share of prompt tokens in the work of slots; the rest are output tokens."""
MOST_BINS = 1 << 12
FEWEST = 64
"""Fewer requests than these are taken as independent."""
SURE = 4.0
"""Standard errors by which counts must vary more than independent ones to be taken as bursts."""
LIVES = 4.0 ** np.arange(1, 6)
"""Mean arrivals during the life of a request. What is busy for a shorter time slows all requests
alike; what is busy for longer slows some."""
FINEST = 16.0
"""Most steps within a bin."""


class Bursts(NamedTuple):
    """Tables by load, for the compiled score; empty without bursts."""

    loads: Floats
    slot_loads: Floats
    slots: Floats
    """Their logarithms."""
    lone: Floats
    mixes: Floats
    lives: Floats
    """Their logarithms."""
    prefill: Floats
    """[load, 1 + lives]"""
    shared: Floats
    """[load, slots, lone, mix, 2]"""


WAIT, SEEN = range(2)
"""First columns of ``prefill``: the mean wait of requests in mean gaps, beyond that of independent
arrivals; and for each of LIVES, which share of the time without prefill that requests would see now
has one."""
CROWD = 1
"""Second column of ``shared``, after the wait: the number inside as requests see it over its mean
in time, relative to the same of independent arrivals."""
NO_WAIT = 1e-3
"""Added to waits in ``shared``, which are logarithms, so that they are interpolated well."""


def bursty(arrival_ps: Integers) -> bool:
    """Whether counts of arrivals vary more, in windows of any length, than those of independent
    ones: by variance over mean (index of dispersion)."""
    number, span = len(arrival_ps), float(arrival_ps[-1] - arrival_ps[0])
    if number < FEWEST or not span:
        return False
    place = (arrival_ps - arrival_ps[0]) / span
    windows = number // 2
    while windows >= FEWEST // 4:
        counts = np.bincount(
            np.minimum((place * windows).astype(np.int64), windows - 1), minlength=windows
        )
        if counts.var() / counts.mean() > 1.0 + SURE * math.sqrt(2.0 / windows):
            return True
        windows //= 2
    return False


def no_bursts() -> Bursts:
    """Tables of independent arrivals."""
    return _tables(LOADS, SLOTS, np.zeros((0, SEEN + len(LIVES))), np.zeros((0, 0, 0, 0, 2)))


def bursts_of(
    arrival_ps: Integers,
    prompt_tokens: Integers,
    output_tokens: Integers,
    load: float | None = None,
    near: tuple[float, float] | None = None,
) -> Bursts:
    """Run both queues on bursty arrivals and on independent ones; the slots at ``load`` alone, if
    it is that of all candidates, or at the points of the grid that a load and a number of slots
    are interpolated between, if these are ``near``."""
    loads, sizes = SLOT_LOADS if load is None else np.array([load, load + 0.01]), SLOTS
    if near is not None:
        loads, sizes = loads[_around(loads, near[0])], SLOTS[_around(SLOTS, near[1])]
    prefill = np.zeros((2, len(LOADS), SEEN + len(LIVES)))
    slots = np.zeros((2, len(loads), len(sizes), len(LONE), len(MIXES), 2))
    number, first = len(arrival_ps), arrival_ps[0]
    recorded = (arrival_ps - first) / float(arrival_ps[-1] - first)
    independent = np.random.default_rng(0).random(number)
    weights = [tokens / tokens.mean() for tokens in (prompt_tokens, output_tokens)]
    for row, place in enumerate((recorded, independent)):
        fine, coarse = (min(number * 2, 4 * MOST_BINS), min(number // 2, MOST_BINS))
        _prefill(_binned(place, weights[0], fine), LOADS, prefill[row, :, :2])
        prefill[row, :, WAIT] *= number / fine
        for column, life in enumerate(LIVES, SEEN):
            bins = max(2, int(number / life))
            busy = np.zeros((len(LOADS), 2))
            _prefill(_binned(place, weights[0], bins), LOADS, busy)
            prefill[row, :, column] = busy[:, SEEN]
        binned = np.stack([_binned(place, each, coarse) for each in weights])
        _slots(binned, number / coarse, (loads, sizes, LONE, MIXES), slots[row])
        slots[row, ..., WAIT] *= number / coarse
    excess = np.maximum(0.0, prefill[0] - prefill[1])
    excess[:, SEEN:] /= np.maximum(1e-9, 1.0 - prefill[1, :, SEEN:])
    more = np.log(NO_WAIT + np.maximum(0.0, slots[0] - slots[1]))
    more[..., CROWD] = np.maximum(1.0, slots[0, ..., CROWD] / slots[1, ..., CROWD])
    return _tables(loads, sizes, excess, more)


def _around(grid: Floats, value: float) -> slice:
    """The points that ``value`` lies between; three where rounding could move it past one."""
    low, high = np.searchsorted(grid, (value * (1 - 1e-9), value * (1 + 1e-9)), side="right")
    last = len(grid) - 2
    return slice(min(max(low - 1, 0), last), min(max(high - 1, 0), last) + 2)


def _tables(slot_loads: Floats, slots: Floats, prefill: Floats, shared: Floats) -> Bursts:
    return Bursts(LOADS, slot_loads, np.log(slots), LONE, MIXES, np.log(LIVES), prefill, shared)


def _binned(place: Floats, weights: Floats, bins: int) -> Floats:
    """[bin] work in bins of equal time, 1 on average."""
    of = np.minimum((place * bins).astype(np.int64), bins - 1)
    work = np.bincount(of, weights, minlength=bins).astype(np.float64)
    return work / float(work.mean())


@compiled
def _prefill(work: Any, loads: Any, out: Any) -> None:
    """Fill ``out[load, 2]`` for a server that does the work of 1 / load bins in a bin."""
    for row in range(len(loads)):
        rate = 1.0 / loads[row]
        queue = waits = busy = 0.0
        for come in work:
            middle = max(0.0, queue + (come - rate) / 2.0)
            waits += come * middle / rate
            busy += come * (1.0 if queue > 0.0 else min(1.0, come / rate))
            queue = max(0.0, queue + come - rate)
        out[row, WAIT], out[row, SEEN] = waits / len(work), busy / len(work)


@compiled
def _slots(work: Any, per_bin: float, grid: Any, out: Any) -> None:
    """Fill ``out[load, slots, lone, mix, 2]`` for ``work[2, bin]`` of prompts and of outputs;
    ``per_bin`` requests arrive in a bin."""
    loads, slots, lone, mixes = grid
    for load in range(len(loads)):
        for slot in range(len(slots)):
            for least in range(len(lone)):
                for mix in range(len(mixes)):
                    state = loads[load], slots[slot] / per_bin, lone[least], mixes[mix]
                    row = out[load, slot, least, mix]
                    row[WAIT], row[CROWD] = _shared(work, state)


@called
def _shared(work: Any, state: tuple[float, float, float, float]) -> tuple[float, float]:
    """Mean wait in bins, and the number inside as requests see it over its mean in time.

    ``slots`` and the number inside are counted in mean arrivals of a bin.
    """
    load, slots, lone, mix = state
    most, full = 1.0 / load, slots * load
    steps = min(FINEST, math.ceil(max(1.0, 2.0 / (full * lone))))
    inside = waits = seen = mean = 0.0
    for place in range(work.shape[1]):
        come = (mix * work[0, place] + (1.0 - mix) * work[1, place]) / steps
        for _ in range(int(steps)):
            slower = lone + (1.0 - lone) * min(1.0, inside / slots)
            leave = min(inside, slots) / (full * slower * steps)
            after = max(0.0, inside + come - leave)
            middle = (inside + after) / 2.0
            waits += come * max(0.0, middle - slots) / most
            seen += come * min(slots, middle)
            mean += min(slots, middle) / steps
            inside = after
    return waits / work.shape[1], seen / max(mean, 1e-12)


@called
def _place(grid: Any, value: float) -> tuple[int, float]:
    """The interval of ``grid`` with ``value``, and how far in it; at the ends 0 and 1."""
    last = len(grid) - 2
    low = 0
    while low < last and value >= grid[low + 1]:
        low += 1
    part = (value - grid[low]) / (grid[low + 1] - grid[low])
    return low, min(1.0, max(0.0, part))


@called
def prefill_excess(bursts: Any, load: float, inside: float) -> tuple[float, float]:
    """Wait in mean gaps and busy share in excess, at a load of the prefill and for lives of
    ``inside`` mean gaps."""
    low, part = _place(bursts.loads, load)
    first, share = _place(bursts.lives, math.log(max(1.0, inside)))
    table = bursts.prefill
    wait = seen = 0.0
    for row, weight in ((low, 1.0 - part), (low + 1, part)):
        wait += weight * table[row, WAIT]
        seen += weight * (1.0 - share) * table[row, SEEN + first]
        seen += weight * share * table[row, SEEN + first + 1]
    return wait, seen


@called
def slots_excess(
    bursts: Any, load: float, slots: float, lone: float, mix: float
) -> tuple[float, float]:
    """Wait in mean gaps in excess, and the crowding, of slots."""
    places = (
        _place(bursts.slot_loads, load),
        _place(bursts.slots, math.log(max(1.0, slots))),
        _place(bursts.lone, lone),
        _place(bursts.mixes, mix),
    )
    wait = crowd = 0.0
    for corner in range(16):
        weight = 1.0
        first, second, third, fourth = corner & 1, corner >> 1 & 1, corner >> 2 & 1, corner >> 3
        weight *= places[0][1] if first else 1.0 - places[0][1]
        weight *= places[1][1] if second else 1.0 - places[1][1]
        weight *= places[2][1] if third else 1.0 - places[2][1]
        weight *= places[3][1] if fourth else 1.0 - places[3][1]
        row = bursts.shared[
            places[0][0] + first, places[1][0] + second, places[2][0] + third, places[3][0] + fourth
        ]
        wait += weight * row[WAIT]
        crowd += weight * row[CROWD]
    return math.exp(wait) - NO_WAIT, crowd
