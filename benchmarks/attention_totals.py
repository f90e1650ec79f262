"""Error of attention priced by a batch's total against every sequence separately, as a table.

Run as ``python benchmarks/attention_totals.py``. The engines describe a step by its sum of KV
blocks, distributed evenly over the chiplets that share a head; in the exact model each sequence
begins on a chiplet of its own (in turn, or drawn at random) and the fullest chiplet counts.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, attention_ps, measures_of
from cluster.perf_model.calibrate import BATCH, EIGHT_B, SEVENTY_B, Point, point_tables
from cluster.perf_model.devices.dimc.attention import exact_ps
from cluster.perf_model.prices import steady_decode
from corsair_common.units import Integers

BATCHES = 2000
CONTEXTS = {"1,024 each": (1024, 1024), "512 to 1,536": (512, 1536), "1 to 2,048": (1, 2048)}
FIRST: Mapping[str, Callable[[np.random.Generator, int, int], Integers]] = MappingProxyType(
    {
        "in turn": lambda _, size, parts: np.arange(size) % parts,
        "at random": lambda rng, size, parts: rng.integers(0, parts, size),
    }
)


def main() -> None:
    """Print a row for each point, spread of contexts and choice of first chiplet."""
    print(
        f"{'point':<6} {'batch':>5}  {'contexts':<13} {'first':<10}"
        f" {'mean off':>9} {'worst':>9} {'of TPOT':>9}"
    )
    for name, point in (("8B", EIGHT_B), ("70B", SEVENTY_B)):
        for contexts in CONTEXTS:
            for first in FIRST:
                print(f"{name:<6} {_row(point, contexts, first)}")


def _row(point: Point, contexts: str, first: str) -> str:
    """One slot's batch at the first stage, ``BATCHES`` times with the same seed."""
    tables = point_tables(point)
    products, size = tables.attention[tables.stage_class[0, 0]], -(-BATCH // tables.stages)
    parts = int(products[0]["parts"])
    rng = np.random.default_rng(0)
    low, high = CONTEXTS[contexts]
    inputs, exact = np.zeros((2, BATCHES))
    for batch in range(BATCHES):
        blocks = -(-rng.integers(low, high + 1, size) // BLOCK_TOKENS)
        inputs[batch] = attention_ps(products, measures_of(1, decode_blocks=int(blocks.sum())))
        begins = FIRST[first](rng, size, parts)
        exact[batch] = exact_ps(products, blocks, np.zeros_like(blocks), begins)
    off = inputs / exact - 1
    cycle_ps = steady_decode(tables, batch=BATCH, context=1024).cycle_ps
    of_cycle = (inputs - exact).mean() * tables.stages / cycle_ps
    return (
        f"{size:>5}  {contexts:<13} {first:<10}"
        f" {_percent(off.mean(), 1)} {_percent(off.min(), 1)} {_percent(of_cycle, 2)}"
    )


def _percent(part: float, digits: int) -> str:
    return f"{100 * round(part, digits + 2) + 0.0:>8.{digits}f}%"


if __name__ == "__main__":
    main()
