from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.perf_model.attention import (
    ATTENTION,
    WIDTH,
    Heads,
    attention_by_bound,
    attention_ps,
    measures_of,
)
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.perf_model.devices.dimc.attention import attention_records, exact_ps
from cluster.perf_model.devices.dimc.chiplet import MAC, STREAM, Chiplet, Mode
from cluster.perf_model.tables import Records
from corsair_common.units import Integers

CHIPLET = Chiplet(
    clock_hz=1e9,
    cores=256,
    slices=16,
    rows=64,
    load_clocks=64,
    fill_clocks=32.0,
    noc_bytes_per_clock=128.0,
    lanes=1024,
    lpddr_bytes_per_s=40e9,
)
INT8 = Mode(columns=64, clocks_per_vector=8, activation_bytes=1.0)
INT4 = Mode(columns=128, clocks_per_vector=4, activation_bytes=0.5)
GROUPED = Heads(kv_heads=2, queries_per_kv_head=4, key_dim=128, value_dim=128)
LATENT = Heads(kv_heads=1, queries_per_kv_head=32, key_dim=576, value_dim=512)
COUNTS = st.integers(0, 100_000)


def records_of(heads: Heads, mode: Mode = INT8, layers: int = 1, windowed: int = 0) -> Records:
    """Layers of kind 0, and windowed ones of kind 1."""
    kinds = [
        attention_records(
            CHIPLET, mode, heads, chiplets=8, layers=count, clocks=(8.0, 1.0), kind=kind
        )
        for kind, count in enumerate((layers, windowed))
    ]
    return np.concatenate(kinds)


def seen_ps(products: Records, decode_blocks: int, prefill_passes: int = 0) -> int:
    """Attention of a step whose rows see so much of the whole context."""
    sums = measures_of(2, decode_blocks=decode_blocks, prefill_passes=prefill_passes)
    return int(attention_ps(products, sums))


def test_thirty_sequences_of_1024_tokens_take_what_a_hand_can_count() -> None:
    # Two heads on eight chiplets: 480 blocks / 4 = 120 a chiplet. QK^T 120 x 2 tiles: one round of
    # 64 after 64 + 32. Softmax 120 x 64 x 4 elements = 30 waves of 8 clocks. PV as QK^T.
    assert seen_ps(records_of(GROUPED, layers=16), 480) == 16 * (160 + 240 + 160) * 1000


def test_a_257th_pass_needs_another_round() -> None:
    one, two = (seen_ps(records_of(GROUPED), blocks) for blocks in (512, 516))

    assert two - one == (64 + 64 + 8 * 1) * 1000  # 129 blocks: 258 passes; softmax 33 waves


def test_a_chunk_of_prefill_fills_its_passes() -> None:
    # 512 tokens of 4 queries x 8 clocks are 256 passes over each of 8 blocks: 512 a chiplet, two
    # tiles each for QK^T and PV: 4 rounds. Softmax: 512 passes x 8 vectors x 64 = 256 waves.
    assert seen_ps(records_of(GROUPED), 0, 8 * 256) == (2 * (96 + 256) + 256 * 8) * 1000


def test_a_pass_lasts_and_hides_as_many_clocks_as_its_tile_loads() -> None:
    # Raptor loads a tile in 4,096 B / 42.67 B/clk = 96 clocks: the chunk of 512 tokens of 4 queries
    # x 8 clocks has ceil(16,384 / 96) = 171 passes. Over 8 blocks: 342 a chiplet, two tiles each
    # for QK^T and PV: ceil(684 / 256) = 3 rounds of 96 after 96 + 32. A pass has 96 / 8 = 12
    # vectors: softmax of 342 x 12 x 64 scores is 257 waves (256.5) of 8 clocks.
    chiplet = replace(CHIPLET, load_clocks=96)
    records = attention_records(chiplet, INT8, GROUPED, chiplets=8, layers=1, clocks=(8.0, 1.0))

    assert seen_ps(records, 0, 8 * 171) == (2 * (128 + 3 * 96) + 257 * 8) * 1000


def test_a_four_bit_cache_has_half_tiles() -> None:
    # One head a chiplet, 64-wide keys: a block is half a tile, so 511 blocks are 256 passes.
    heads = Heads(kv_heads=8, queries_per_kv_head=1, key_dim=64, value_dim=64)
    qk, _, pv = records_of(heads, INT4)[:3]

    assert qk["a_decode_blocks"] == 0.5
    assert pv["a_decode_blocks"] == 1.0


def test_a_latent_cache_is_nine_tiles_of_keys_and_eight_of_values() -> None:
    qk, _, pv = records_of(LATENT)[:3]

    assert qk["parts"] == 8
    assert (qk["a_prefill_passes"], pv["a_prefill_passes"]) == (9, 8)
    assert (qk["a_decode_blocks"], pv["a_decode_blocks"]) == (4 * 9, 4 * 8)  # 32 queries: 4 passes


@pytest.mark.parametrize(
    ("kv_heads", "parts", "per_unit"), [(1, 8, 1), (2, 4, 1), (3, 2, 1), (8, 1, 1), (9, 1, 2)]
)
def test_heads_share_chiplets_or_chiplets_share_heads(
    kv_heads: int, parts: int, per_unit: int
) -> None:
    heads = Heads(kv_heads=kv_heads, queries_per_kv_head=1, key_dim=64, value_dim=64)

    assert (heads.parts(8), heads.per_unit(8)) == (parts, per_unit)


@pytest.mark.parametrize(("queries", "bound"), [(7, STREAM), (8, MAC)])
def test_decode_is_bound_by_the_stream_below_the_ridge(queries: int, bound: int) -> None:
    heads = Heads(kv_heads=2, queries_per_kv_head=queries, key_dim=128, value_dim=128)
    sums = measures_of(2, decode_blocks=480)[None]
    split = attention_by_bound(records_of(heads), sums, len(BOUNDS))[0]

    assert split[bound] == 2 * 160_000


def test_nothing_to_see_costs_nothing() -> None:
    assert seen_ps(records_of(GROUPED, windowed=1), 0) == 0
    assert seen_ps(np.zeros(2, ATTENTION), 5, 5) == 0


def test_each_kind_of_layers_reads_sums_of_its_own() -> None:
    products = records_of(GROUPED, layers=0, windowed=3)

    assert seen_ps(products, 480) == 0
    assert attention_ps(products, measures_of(2, decode_blocks_1=480)) == 3 * 560_000


def test_the_longer_of_two_forms_sets_the_time_and_the_bound() -> None:
    # 3 blocks of 5 units of work against 7 pairs of 2: 15 ticks of 10 after 4 fixed ones.
    product = np.zeros(1, ATTENTION)
    for name in ("layers", "two_forms", "parts", "quantum", "ps_per_tick"):
        product[name] = 1
    product["fixed"], product["tick"] = 4, 10
    product["a_decode_blocks"], product["b_prefill_pairs"] = 5, 2
    product["decode_bound"], product["prefill_bound"], product["b_bound"] = 0, 1, 2

    split = attention_by_bound(
        product,
        np.stack(
            [
                measures_of(1, decode_blocks=3, prefill_pairs=7),
                measures_of(1, decode_blocks=3, prefill_pairs=8),
            ]
        ),
        3,
    )
    assert split.tolist() == [[154, 0, 0], [0, 0, 164]]


@given(measures=st.lists(st.tuples(*[COUNTS] * 2 * WIDTH), min_size=1, max_size=8))
def test_the_split_sums_to_the_price(measures: list[tuple[int, ...]]) -> None:
    products = records_of(GROUPED, layers=3, windowed=2)
    split = attention_by_bound(products, np.array(measures), len(BOUNDS))

    prices = [attention_ps(products, np.array(row)) for row in measures]
    assert split.sum(axis=1).tolist() == prices


@given(a=st.tuples(COUNTS, COUNTS), b=st.tuples(COUNTS, COUNTS))
def test_more_to_see_never_costs_less(a: tuple[int, int], b: tuple[int, int]) -> None:
    products = records_of(LATENT)
    low, high = (min(a[0], b[0]), min(a[1], b[1])), (max(a[0], b[0]), max(a[1], b[1]))

    assert seen_ps(products, *low) <= seen_ps(products, *high)


def exact_of(products: Records, blocks: Integers, first: Integers) -> int:
    return exact_ps(products, blocks, np.zeros_like(blocks), first)


@given(
    contexts=st.lists(st.integers(1, 8000), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
    heads=st.sampled_from([GROUPED, LATENT]),
)
def test_the_batch_total_is_within_a_block_per_sequence_of_the_exact_model(
    contexts: list[int], seed: int, heads: Heads
) -> None:
    products = records_of(heads)
    parts = int(products[0]["parts"])
    blocks = -(-np.array(contexts) // 64)
    first = np.random.default_rng(seed).integers(0, parts, len(contexts))
    exact = exact_of(products[:3], blocks, first)

    total = int(blocks.sum())
    assert seen_ps(products, total) <= exact
    assert exact <= seen_ps(products, total + (parts - 1) * len(contexts))


@pytest.mark.parametrize("heads", [GROUPED, LATENT])
def test_with_rotating_first_chiplets_the_batch_total_errs_by_a_few_percent(heads: Heads) -> None:
    products = records_of(heads)
    first = np.arange(30) % int(products[0]["parts"])
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(100):
        blocks = -(-rng.integers(512, 1537, 30) // 64)
        exact = exact_of(products[:3], blocks, first)
        errors.append(seen_ps(products, int(blocks.sum())) / exact - 1)

    assert max(errors) <= 0
    assert np.mean(errors) > -0.04


def test_separate_prefill_agrees_for_evenly_distributed_blocks() -> None:
    products = records_of(GROUPED)
    blocks, passes = np.array([8, 4]), np.array([256, 0])

    exact = exact_ps(products[:3], blocks, passes, np.array([0, 2]))
    assert exact == seen_ps(products, 4, 8 * 256)
