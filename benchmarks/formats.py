"""How fast arrays are quantised, on one core.

Run ``python benchmarks/formats.py``. MB/s of float32 input, the best of a few turns of CPU time:
along the last axis, along the first of two (which is read across rows), and into stored bits.
Target: 200 MB/s and more along the last axis for every format.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from cluster.studies.formats import LISTED
from workloads.formats import decode, encode, get_format, quantize

TARGET = 200.0


def rate(work: Callable[[], object], size_bytes: int, turns: int) -> float:
    """MB/s of the fastest turn, after one that is not counted."""
    work()
    best_s = float("inf")
    for _ in range(turns):
        began_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - began_s)
    return size_bytes / best_s / 1e6


def main() -> None:
    """Print the rates of every format and the slowest of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=5)
    requested = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((requested.rows, requested.columns)).astype(np.float32)
    print(f"{'MB/s':16} {'quantize':>9} {'axis 0':>9} {'encode':>9} {'decode':>9}")
    slowest = float("inf")
    for name in LISTED:
        item = get_format(name)
        stored = encode(x, item)
        work: tuple[Callable[[], object], ...] = (
            partial(quantize, x, item),
            partial(quantize, x, item, axis=0),
            partial(encode, x, item),
            partial(decode, stored),
        )
        rates = [rate(each, x.nbytes, requested.turns) for each in work]
        slowest = min(slowest, rates[0])
        print(f"{name:16}" + "".join(f" {each:9,.0f}" for each in rates), flush=True)
    print(f"slowest quantize {slowest:,.0f} MB/s, target {TARGET:,.0f}")


if __name__ == "__main__":
    main()
