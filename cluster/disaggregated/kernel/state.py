"""What the loop of two pools knows of transfers: structured arrays with int64 fields."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import Records
from corsair_common.units import Integers

NONE = -1
"""No request, no place, no time."""
RUNNING, DONE, STUCK, LATE, CROWDED = 0, 1, 2, 3, 4
"""Status after a window. CROWDED: more sendings are under way than there are places."""
ABSENT, WAITS, PULLS, SENT = 0, 1, 2, 3
"""State of a request: its KV waits for blocks, is under way, or has been sent."""
COMES, ALONE, SENDS, ARRIVES = 0, 1, 2, 3
"""State of a sending: its messages begin later; they meet no others, so that their end is known;
they are simulated one by one; the KV is there once the software has handed it over."""


def _record(*names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names])


CONTROL = _record(
    # settings
    "layerwise",
    "pairs",  # messages of one sending
    "targets",  # replicas of the decode pool
    "longest",  # links of the longest path
    "layers",  # of the model
    "repeating",  # whether cycles of the decode pool that recur are run at once
    "base_ps",  # of the clock of the messages
    # progress
    "status",
    "active",  # sendings under way
    "handed",  # requests taken over from the prefill pool
    "pending",  # of those, that wait for blocks
    "prefill_rows",  # of the logs of this window
    "decode_rows",
)

REQUEST = _record(
    "tokens",  # of the prompt
    "kind",  # of prompts with messages of the same sizes
    "drawn",  # replica of the decode pool drawn for it
    "before_ps",  # conversion before its messages
    "after_ps",  # conversion and software after the last
    "state",
    "source",
    "target",
    "next",  # behind it among those that wait for blocks of the same replica
    "sendings",  # of its own under way
    "ended_ps",  # its prefill
    "pulled_ps",  # its blocks were counted
    "origin_ps",  # of its messages, if they met no others, else NONE
    "received_ps",
    "sent_bytes",  # but for those with ``origin_ps``
)
"""A request of the run, or of its accepted ones."""

SENDING = _record(
    "request",
    "state",
    "event_ps",
    "origin_ps",
    "place",
    "met",  # whether it has met others
    "first",  # tokens sent before, and after it
    "tokens",
    "last",
    "spent_ps",  # time of the step whose layers it follows, or 0
)
"""The messages of a whole prompt, or of a chunk."""

PLACE = _record("busy", "left")
"""Slots of the messages of one sending, and how many are under way."""

QUEUE = _record("head", "tail")
"""Requests that wait for blocks of a replica."""

PAIR = _record("first_layer", "layers", "tail_bytes")

PATH = np.dtype([("latency_ps", np.int64), ("first", np.int64), ("bytes_per_s", np.float64)])
"""One more than there are: ``first`` of its links."""


class Moves(NamedTuple):
    """The transfers, in arrays that the kernel may write."""

    control: Records
    """[1]"""
    requests: Records
    """[n]"""
    sendings: Records
    """[places + n] those under way, by request"""
    places: Records
    queues: Records
    """[decode replica]"""
    pairs: Records
    """[pair]"""
    block_bytes: Integers
    """[pair, kind of layers]"""
    windows: Integers
    """[kind of layers]"""
    paths: Records
    """[(prefill replica, decode replica, pair) + 1]"""
    links: Integers
    """Of the paths, rising within one."""
    bytes_per_s: npt.NDArray[np.float64]
    """[link]"""
    alone_ps: Integers
    """[(prefill replica, decode replica), kind] what the messages take alone, once known"""
    order: Integers
    """[n] requests in the order in which they arrived at the decode pool"""
    arrivals: Records
    """[n] requests of the decode pool before they arrive there"""
