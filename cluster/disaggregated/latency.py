"""Latencies by cause of a disaggregated run: those of both pools, and the hand-over between."""

import numpy as np

from cluster.serving.interface import Served
from corsair_common.units import NEVER, Integers
from results.causes import HAND_OVER
from results.engine_columns import Latency, elapsed_ps


def joined_latency(
    served: Served, prefill: Latency | None, decode: Latency | None, rows: Integers, back: Integers
) -> Latency | None:
    """The whole run's; its prefilled requests are ``rows``, ``back`` their rows in the decode pool.

    The hand-over is what neither pool accounts for: from the end of the prefill until the request
    joins the queue of the decode pool.
    """
    if prefill is None or decode is None:
        return None
    names = tuple(dict.fromkeys((*prefill.causes, HAND_OVER, *decode.causes)))
    found = []
    for own, end_ps in ((decode.whole, served.finish_ps), (decode.first, served.first_token_ps)):
        parts = np.zeros((len(rows), len(names)), np.int64)
        _add(parts, names, prefill.causes, prefill.whole)
        _add(parts, names, decode.causes, own[back])
        lasts_ps = elapsed_ps(served.arrival_ps, end_ps)[rows]
        parts[:, names.index(HAND_OVER)] = lasts_ps - parts.sum(axis=1)
        found.append(np.zeros((len(served.status), len(names)), np.int64))
        found[-1][rows] = parts
    done = served.finish_ps != NEVER
    return Latency(causes=names, whole=found[0], first=found[1], done=done)


def _add(parts: Integers, names: tuple[str, ...], causes: tuple[str, ...], own: Integers) -> None:
    for cause, column in zip(causes, own.T, strict=True):
        parts[:, names.index(cause)] += column
