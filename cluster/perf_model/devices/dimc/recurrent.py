"""States of recurrent layers on DIMC cores: products with a state or within a chunk, and changes.

The state, or what a chunk makes of its keys and values, is the stationary operand, 16 bits wide as
the FP16 tail of V (a state that is stored in 32 bits takes the memory of 32, and is multiplied as
16); tile passes count as in attention. Decay and addition are two products and a sum of every
element of the state, as RoPE has them, on the vector units; so are the decays within a chunk.
"""

from collections.abc import Iterable

import numpy as np

from cluster.perf_model.attention import ATTENTION, WIDTH, StateHeads
from cluster.perf_model.devices.dimc.chiplet import MAC, SIMD, STREAM, Chiplet, Mode
from cluster.perf_model.devices.dimc.counters import (
    COUNTS,
    FP16_BYTES,
    NOC,
    SRAM,
    Recipe,
    lines,
)
from cluster.perf_model.devices.dimc.counters import SIMD as SIMD_COUNTS
from cluster.perf_model.devices.dimc.op_counts import kmacs_of_vector
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_PASSES, Records
from corsair_common.units import PS_PER_S, Integers
from workloads.model.scan import (
    HeadProduct,
    scan_elements,
    scan_products,
    step_elements,
    step_products,
)

STATE_PRODUCTS = ("state products", "state update")
"""In the order of the records."""
RECORDS = 3
"""As many as attention has; the last is absent."""
UPDATE = ("rope",)


def tiles_of(chiplet: Chiplet, mode: Mode, product: HeadProduct) -> int:
    """Tiles of a stationary matrix."""
    return -(-product.k // chiplet.rows) * -(-product.n // mode.columns)


def passes_of(chiplet: Chiplet, mode: Mode, product: HeadProduct) -> int:
    """Tile passes of one head or group: each hides the loading of a tile behind its vectors."""
    turns = -(-product.vectors * mode.clocks_per_vector // chiplet.load_clocks)
    return tiles_of(chiplet, mode, product) * turns


def state_records(
    chiplet: Chiplet,
    mode: Mode,
    states: StateHeads,
    *,
    chiplets: int,
    layers: int,
    update_clocks: float,
    kind: int = 0,
) -> Records:
    """[3] records of ``layers`` layers with these states on a card of ``chiplets``.

    Decode rows count as blocks, chunks of 64 tokens as passes.
    """
    here, groups = states.per_unit(chiplets), -(-states.groups // chiplets)

    def passes(products: Iterable[HeadProduct]) -> int:
        return sum(
            passes_of(chiplet, mode, each) * (groups if each.by_group else here)
            for each in products
        )

    a = states.attention
    step = step_products(a)
    busy = all(each.vectors * mode.clocks_per_vector >= chiplet.load_clocks for each in step)
    rows = np.zeros(RECORDS, ATTENTION)
    rows["kind"], rows["parts"] = kind, states.parts(chiplets)
    rows["quantum"] = rows["tick"] = 1.0
    rows["layers"][:2] = layers
    rows["ps_per_tick"] = PS_PER_S / chiplet.clock_hz
    products, update = rows[0], rows[1]
    products["quantum"], products["tick"] = chiplet.cores, chiplet.load_clocks
    products["fixed"] = chiplet.load_clocks + chiplet.fill_clocks
    products["a_decode_blocks"] = passes(step)
    products["a_prefill_passes"] = passes(scan_products(a))
    products["decode_bound"] = MAC if busy else STREAM
    products["prefill_bound"] = products["b_bound"] = MAC
    update["quantum"], update["tick"] = chiplet.lanes, update_clocks
    update["a_decode_blocks"] = here * step_elements(a)
    update["a_prefill_passes"] = here * scan_elements(a)
    update["decode_bound"] = update["prefill_bound"] = update["b_bound"] = SIMD
    return rows


def state_counts(
    figures: Figures, chiplet: Chiplet, mode: Mode, states: StateHeads, update: Recipe
) -> Integers:
    """[MEASURES, COUNTS] of a card: a decode row, and a chunk of 64 tokens of a prompt."""
    a = states.attention
    counts = np.zeros((WIDTH, len(COUNTS)), np.int64)
    kind, kmacs = kmacs_of_vector(figures, mode)
    tile_bytes = figures["dimc.rows"] * figures["dimc.columns_int8"]
    work = (
        (DECODE_BLOCKS, step_products(a), step_elements(a)),
        (PREFILL_PASSES, scan_products(a), scan_elements(a)),
    )
    for measure, products, elements in work:
        changed = states.heads * elements
        vectors = stream = 0
        for each in products:
            times = states.groups if each.by_group else states.heads
            vectors += times * each.vectors * tiles_of(chiplet, mode, each)
            stream += times * passes_of(chiplet, mode, each)
        row = counts[measure]
        row[kind] = round(vectors * kmacs)
        row[SRAM] = lines(stream * tile_bytes + changed * 2.0 * FP16_BYTES)
        row[NOC] = lines(vectors * chiplet.rows * mode.activation_bytes)
        row[SIMD_COUNTS] = changed * np.array(update.operations)
    return counts
