"""States of recurrent layers, sparse attention and layers of one half, against sums by hand."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.attention import (
    ATTENTION,
    WIDTH,
    Heads,
    StateHeads,
    attention_ps,
    decode_measures,
    measures_of,
)
from cluster.perf_model.devices import device_of
from cluster.perf_model.devices.dimc.attention import attention_records
from cluster.perf_model.devices.dimc.chiplet import Chiplet, Mode
from cluster.perf_model.devices.dimc.recurrent import state_records
from cluster.perf_model.devices.gpu.facts import LINES, TENSOR_COUNTS
from cluster.perf_model.devices.gpu.recurrent import state_counts as gpu_counts
from cluster.perf_model.kv_transfer_map import kv_shares
from cluster.perf_model.memory import MemorySettings, stage_memory
from cluster.perf_model.memory.placement import uniform
from cluster.perf_model.memory.shard import kv_block
from cluster.perf_model.memory.stage import windows_of
from cluster.perf_model.prices import PriceInputs, price_tables, steady_decode
from cluster.perf_model.prices.program import price_program, program_inputs
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    PREFILL_BLOCKS,
    PREFILL_PAIRS,
    PREFILL_PASSES,
    PriceTables,
    Records,
)
from cluster.scenario.formats import Formats
from corsair_common.names import STATE
from corsair_common.units import Integers
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import Attention, Layer, Mlp, Model
from workloads.model.layers import NO_ATTENTION, NO_MLP
from workloads.model.scan import macs_of, scan_products, step_macs
from workloads.plan import Plan
from workloads.program import Batch, generate_program

Inputs: TypeAlias = Callable[..., PriceInputs]

DELTA = Attention(
    kind="linear",
    heads=32,
    kv_heads=16,
    head_dim=128,
    value_dim=128,
    conv_kernel=4,
    state_element_bytes=4,
)
"""Qwen3-Next's, its state in 32 bits."""
MAMBA = Attention(
    kind="mamba", heads=64, kv_heads=8, head_dim=128, value_dim=64, conv_kernel=4, qkv_bias=True
)
"""Nemotron 3 Nano's."""
FULL = Attention(kind="gqa", heads=16, kv_heads=4, head_dim=64, value_dim=64, output_gate=True)
SPARSE = Attention(
    kind="mla",
    heads=16,
    kv_heads=16,
    head_dim=96,
    value_dim=64,
    q_lora_rank=256,
    kv_lora_rank=128,
    rope_dim=32,
    nope_dim=64,
    index_heads=8,
    index_dim=64,
    index_tokens=256,
)
FOLLOWER = replace(SPARSE, index_heads=0, index_dim=0)
"""Picks what the layer before it picked."""
PICKING = replace(FULL, index_heads=4, index_dim=64, index_tokens=128, output_gate=False)
DENSE = Mlp(kind="dense", intermediate=1024)
UNGATED = Mlp(kind="dense", intermediate=1024, gated=False)
EXPERTS = Mlp(kind="moe", intermediate=256, experts=16, experts_per_token=2, gated=False)
LATENT = replace(EXPERTS, latent=128, shared_intermediate=256)
ONE = Plan()


def model_of(*layers: Layer) -> Model:
    return Model(
        name="tiny",
        architecture="test",
        hidden=512,
        vocab=1024,
        layers=layers,
        tied_embeddings=False,
        max_context=8192,
    )


MODELS = {
    "delta": model_of(*(Layer(attention=a, mlp=DENSE) for a in (DELTA, DELTA, DELTA, FULL))),
    "delta of experts": model_of(
        *(Layer(attention=a, mlp=replace(EXPERTS, gated=True)) for a in (DELTA, FULL))
    ),
    "halves": model_of(
        Layer(attention=MAMBA, mlp=NO_MLP),
        Layer(attention=NO_ATTENTION, mlp=UNGATED),
        Layer(attention=FULL, mlp=NO_MLP),
        Layer(attention=NO_ATTENTION, mlp=LATENT),
    ),
    "mamba alone": model_of(Layer(attention=MAMBA, mlp=NO_MLP), Layer(attention=MAMBA, mlp=NO_MLP)),
    "sparse": model_of(*(Layer(attention=a, mlp=DENSE) for a in (SPARSE, FOLLOWER))),
    "sparse beside full": model_of(*(Layer(attention=a, mlp=EXPERTS) for a in (FULL, PICKING))),
    "norms on outputs": model_of(
        *(
            Layer(attention=a, mlp=DENSE, output_norms=True)
            for a in (
                replace(FULL, keys_are_values=True, output_gate=False),
                replace(FULL, window=128, head_gate=True, output_gate=False),
            )
        )
    ),
}


@pytest.fixture
def inputs(hand_map: Callable[..., Any]) -> Inputs:
    """A tiny model on the map by hand, on cards or on GPUs."""

    def build(
        name: str, hardware: str = "corsair", tensor: int = 4, pipeline: int = 1, expert: int = 1
    ) -> PriceInputs:
        cards = tensor * pipeline
        number = "mxint8" if hardware == "corsair" else "bf16"
        found = load_hardware(hardware)
        figures: Any = found
        if hardware == "corsair":
            figures = {key: found[key] for key in found.figures}
        formats = {use: get_format(number) for use in ("weights", "activations", "kv")}
        model = MODELS[name]
        plan = Plan(
            tensor_parallel_size=tensor,
            pipeline_parallel_size=pipeline,
            expert_parallel_size=expert,
        )
        return PriceInputs(
            hardware=figures,
            routes=hand_map(cards),
            model=model,
            plan=plan,
            formats=Formats(**formats, wire=get_format("fp16")),
            cards=np.arange(cards).reshape(1, pipeline, tensor),
            max_tokens=160,
            max_rows=32,
            max_context=8192,
            residency=uniform("performance", model, plan),
        )

    return build


def measures(tables: PriceTables, batch: Batch) -> Integers:
    """The sums by which the serving engine knows a batch of equal chunks."""
    sums = np.zeros((len(tables.kinds), WIDTH), np.int64)
    for kind, (window, clocks, load, picked) in enumerate(tables.kinds.tolist()):
        decode, chunks = batch.met(window)
        seen = chunks
        if picked:
            decode, chunks = batch.met_picks(picked, together=False)
            _, seen = batch.met_picks(picked, together=True)
        pairs = batch.pairs(window or picked)
        if window == STATE:
            pairs = batch.chunk_tokens * len(batch.chunk_contexts)
        sums[kind, DECODE_BLOCKS], sums[kind, PREFILL_BLOCKS] = decode // 64, seen // 64
        sums[kind, PREFILL_PASSES] = chunks // 64 * -(-batch.chunk_tokens * clocks // load)
        sums[kind, PREFILL_PAIRS] = pairs
    return sums.ravel()


BATCHES = {
    "decode": Batch(decode_contexts=(100, 1024, 2049, 64, 65)),
    "prefill": Batch(chunk_tokens=48, chunk_contexts=(48, 4000), last_chunks=1),
    "mixed": Batch(decode_contexts=(7, 700), chunk_tokens=90, chunk_contexts=(500,)),
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    ("hardware", "tensor", "pipeline", "expert"),
    [("corsair", 4, 2, 1), ("corsair", 1, 1, 1), ("corsair", 4, 1, 2), ("h100", 2, 1, 1)],
)
@pytest.mark.parametrize("name", MODELS)
def test_the_operations_of_a_batch_sum_to_what_serving_charges_a_stage(
    inputs: Inputs,
    name: str,
    hardware: str,
    tensor: int,
    pipeline: int,
    expert: int,
    batch: str,
) -> None:
    if expert > 1 and not any(layer.mlp.experts for layer in MODELS[name].layers):
        expert = 1
    supplied, chosen = inputs(name, hardware, tensor, pipeline, expert), BATCHES[batch]
    tables = price_tables(supplied)

    program = generate_program(program_inputs(supplied), [[chosen]])
    price = price_program(program, supplied)

    own = program.operations
    host = own.name == program.words["name"].index("host") if "host" in program.words["name"] else 0
    for stage in range(pipeline):
        kind = tables.stage_class[0, stage]
        attention = attention_ps(tables.attention[kind], measures(tables, chosen))
        linear = tables.linear_ps[kind] + tables.collective_ps[kind]
        expected = linear[chosen.tokens] + attention
        if stage == pipeline - 1:
            expected += tables.head_ps[kind, chosen.emitted]
            if stage == 0 and hardware == "h100":  # and the host's time, at the first stage
                expected -= price.duration_ps[host & (own.rank == 0)].sum()
        chain = (own.rank == stage * tensor) & (own.stream <= 1) & ~np.asarray(host, bool)
        assert int(price.duration_ps[chain].sum()) == int(expected)


@pytest.mark.parametrize("name", MODELS)
def test_every_structure_has_a_steady_cycle_that_a_longer_context_does_not_shorten(
    inputs: Inputs, name: str
) -> None:
    tables = price_tables(inputs(name, "corsair", 4, 2))

    cycles = [
        steady_decode(tables, batch=8, context=context).cycle_ps for context in (64, 1024, 8000)
    ]

    assert cycles == sorted(cycles)
    if name == "mamba alone":  # a state has no length
        assert cycles[0] == cycles[2]


# By hand, on a chiplet of 256 cores of 64 x 32 tiles in 16 bits, 16 clocks a vector, 64 a load.
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
WIDE = Mode(columns=32, clocks_per_vector=16, activation_bytes=2.0)
INT8 = Mode(columns=64, clocks_per_vector=8, activation_bytes=1.0)


def states(a: Attention, heads: int, groups: int) -> StateHeads:
    return StateHeads(attention=a, heads=heads, groups=groups)


def of_states(found: StateHeads) -> Records:
    return state_records(CHIPLET, WIDE, found, chiplets=8, layers=1, update_clocks=4.0).view(
        ATTENTION
    )


def test_a_decoding_row_multiplies_its_states_and_changes_them() -> None:
    # 8 heads, one a chiplet. S^T k and S^T q: 2 vectors x 16 clocks hide in the load of each of
    # 2 x 4 tiles; 40 rows have 320 passes, two rounds of 64 clocks after 64 + 32. 40 x 128 x 128
    # elements change, 640 waves of 4 clocks.
    sums = measures_of(1, decode_blocks=40)

    assert attention_ps(of_states(states(DELTA, 8, 4)), sums) == (96 + 128 + 640 * 4) * 1000


def test_sequences_take_turns_on_chiplets_without_heads_of_their_own() -> None:
    # 4 heads on 8 chiplets: each head's states of half the rows, so that 40 rows count as 20:
    # 160 passes, 320 waves.
    sums = measures_of(1, decode_blocks=40)

    assert attention_ps(of_states(states(DELTA, 4, 2)), sums) == (96 + 64 + 320 * 4) * 1000


def test_a_chunk_is_scanned_64_tokens_at_a_time() -> None:
    # A head's passes for 64 tokens: K K^T and Q K^T 4 tiles x 32, the inverse 2 x 16, W and U
    # 4 x 16 each, W S and Q S 8 x 32, P U 4 x 16, K^T U 4 x 32: 736, a quarter of 256 cores for a
    # round each: ceil(3 x 736 / 256) = 9 rounds. 128 x 128 + 2 x 64 x 64 elements: 72 waves of
    # 1,024 for three chunks.
    sums = measures_of(1, prefill_blocks=1, prefill_passes=3, prefill_pairs=192)

    assert attention_ps(of_states(states(DELTA, 8, 4)), sums) == (96 + 9 * 64 + 72 * 4) * 1000


def test_groups_of_mamba_share_one_product_of_b_and_c() -> None:
    # 16 heads, 2 groups on 8 chiplets: 2 heads and 1 group a chiplet. C B^T of the group 2 x 2
    # tiles x 16; of a head (L * C B^T) X 2 x 16, C S 2 x 2 x 16, B^T X 2 x 32: 64 + 2 x 160 = 384
    # passes, two rounds. 2 x (128 x 64 + 64 x 64) elements, 24 waves.
    sums = measures_of(1, prefill_blocks=1, prefill_passes=1, prefill_pairs=64)

    assert attention_ps(of_states(states(MAMBA, 16, 2)), sums) == (96 + 2 * 64 + 24 * 4) * 1000


def test_multiply_adds_of_a_token_are_those_of_the_papers() -> None:
    # Gated delta rule: S^T k, k v^T and S^T q; Mamba-2: B x^T and C S.
    assert step_macs(DELTA, 32) == 3 * 32 * 128 * 128
    assert step_macs(MAMBA, 64) == 2 * 64 * 128 * 64
    # Of 64 tokens: 3 d^2 + 5 x 64 d + 64^2 a token and head, with d = 128.
    each = 3 * 128 * 128 + 5 * 64 * 128 + 64 * 64
    assert macs_of(scan_products(DELTA), 32, 16) == 64 * 32 * each
    mamba = 64 * (2 * 128 * 64 + 64 * 64) + 8 * 64 * 128
    assert macs_of(scan_products(MAMBA), 64, 8) == 64 * mamba


def test_a_gpu_reads_and_writes_a_state_for_every_decoding_row() -> None:
    round_figures = {
        "gpu.memory_bandwidth_bytes_per_s": 1e12,
        "gpu.bf16_flop_per_s": 1e15,
        "gpu.attention_bandwidth_efficiency": 0.5,
        "gpu.attention_flop_efficiency": 0.5,
        "gpu.attention_latency_s": 4e-6,
        "engine.eager_layer_s": 0.0,
    }
    names = dict.fromkeys(("weights", "activations", "kv", "wire"), get_format("bf16"))
    gpu = device_of(
        load_hardware("h100", round_figures),
        Formats(**names),
        cards=1,
        expert_ranks=1,
        streams=False,
    )
    records = gpu.attention_records(states(DELTA, 32, 16), 1, 0).view(ATTENTION)
    # 32 x 128 x 128 elements of 4 bytes and 8,192 channels x 3 of 2, read and written.
    state = 2 * (32 * 128 * 128 * 4 + 8192 * 3 * 2)
    row_ps = state / 0.5  # at half a TB/s a byte takes 2 ps

    assert attention_ps(records, measures_of(1, decode_blocks=10)) == round(4e6 + 10 * row_ps)
    # A chunk of 128 tokens: its ends, two states of 2 bytes written and read, and its flop.
    between = 2 * 2 * 2 * 32 * 128 * 128 / 0.5
    flop = 2 * 2 * macs_of(scan_products(DELTA), 32, 16) / 500
    sums = measures_of(1, prefill_blocks=1, prefill_passes=2, prefill_pairs=128)
    assert attention_ps(records, sums) == round(4e6 + row_ps + between + flop)


def test_a_gpu_counts_the_flop_and_the_lines_of_a_state() -> None:
    counts = gpu_counts(states(DELTA, 32, 16))

    unit, wide = 1 << 10, TENSOR_COUNTS[16]
    assert counts[DECODE_BLOCKS, wide] * unit == 2 * 3 * 32 * 128 * 128
    assert counts[DECODE_BLOCKS, LINES] * 64 == 2 * (32 * 128 * 128 * 4 + 8192 * 3 * 2)
    scan = 2 * macs_of(scan_products(DELTA), 32, 16) // 64
    assert counts[PREFILL_PAIRS, wide] * unit == pytest.approx(scan, abs=unit / 2)


def test_index_keys_have_no_tail_in_sixteen_bits() -> None:
    kv = get_format("mxint8")
    with_index, without = (kv_block(one, ONE, 8, kv) for one in (PICKING, FULL))

    assert with_index.card - without.card == 64 * 64 * 65 // 64
    assert with_index.tail_card == without.tail_card


def test_a_sequence_keeps_one_state_whatever_its_length() -> None:
    # 32 heads of 128 x 128 in 4 bytes, and 3 inputs of 2 x 16 x 128 + 32 x 128 channels in 2.
    state = 32 * 128 * 128 * 4 + 3 * 8192 * 2
    block = kv_block(DELTA, ONE, 8, get_format("mxint8"))
    shared = kv_block(DELTA, Plan(tensor_parallel_size=8), 8, get_format("mxint8"))

    assert (block.chiplet, block.card, block.tail_card) == (Fraction(state, 8), state, 0)
    # Four heads a card, on half its chiplets or in turn on all: an eighth of the card's in the mean
    assert (shared.chiplet, shared.card) == (Fraction(state, 64), state // 8)


def test_room_for_states_does_not_hang_on_the_size_of_blocks(figures: dict[str, float]) -> None:
    def taken(block_size: int) -> tuple[Fraction, ...]:
        mxint8 = get_format("mxint8")
        settings = MemorySettings(weights=mxint8, kv=mxint8, block_size=block_size)
        model = MODELS["delta"]
        assert windows_of(model, settings) == (0, STATE)
        residency = settings.uniform(model, ONE)
        return stage_memory(model, ONE, figures, settings, residency)[0].kind_bytes

    states_of_64, states_of_16 = taken(64)[1], taken(16)[1]

    assert states_of_64 == states_of_16 == 3 * kv_block(DELTA, ONE, 8, get_format("mxint8")).chiplet
    assert taken(16)[0] * 4 == taken(64)[0]


def test_a_transfer_sends_one_state_and_all_blocks() -> None:
    kv = get_format("mxint8")
    shares = kv_shares(MODELS["delta"], Plan(), Plan(tensor_parallel_size=2), 8, kv)
    state = kv_block(DELTA, ONE, 8, kv).card
    block = kv_block(FULL, ONE, 8, kv).card
    tail = kv_block(FULL, ONE, 8, kv).tail_card

    sent = shares.bytes_of(np.array([64, 6400])).sum(axis=1)

    assert sent.tolist() == [3 * state + block, 3 * state + 100 * block]
    assert shares.tail_bytes.sum() == tail


def test_a_row_reads_its_picks_and_the_index_keys_of_all(inputs: Inputs) -> None:
    tables = price_tables(inputs("sparse", tensor=1))

    # The indexer's 8 heads over all tokens, then 16 heads over 256 picked ones; 8 clocks each.
    assert tables.kinds.tolist() == [(0, 64, 64, 0), (0, 128, 64, 256)]
    seen = decode_measures(tables.kinds, rows=2, context=1000).reshape(2, WIDTH)
    assert seen[:, DECODE_BLOCKS].tolist() == [2 * 16, 2 * 4]
    layers = tables.attention["layers"]
    assert layers.tolist() == [[1, 1, 1, 2, 2, 2]]  # the second layer has no indexer


def test_picked_tokens_are_gathered_and_scores_compared() -> None:
    # One latent on eight chiplets, 16 queries: 32 blocks of decode rows, 4 a chiplet, 12 tiles of
    # QK^T and 8 of PV. Softmax of 4 x 64 x 16 scores: 4 waves of 8 clocks on 1,024 lanes. 4 x 64 x
    # 160 gathered elements of 1 clock are as much as 5,120 scores: 9 waves together.
    chosen = Heads(
        kv_heads=1, queries_per_kv_head=16, key_dim=160, value_dim=128, latent=True, picked=256
    )
    plain = replace(chosen, picked=0)
    index = Heads(kv_heads=1, queries_per_kv_head=8, key_dim=64, value_dim=0, picks=256)
    sums = measures_of(1, decode_blocks=32)

    def ps(heads: Heads) -> int:
        records = attention_records(
            CHIPLET, INT8, heads, chiplets=8, layers=1, clocks=(8.0, 1.0)
        ).view(ATTENTION)
        return int(attention_ps(records, sums))

    assert ps(plain) == (2 * (96 + 64) + 4 * 8) * 1000
    assert ps(chosen) == (2 * (96 + 64) + 9 * 8) * 1000
    # 4 x 64 x (8 heads x 2 + 8 comparisons of a heap of 256): 6 waves of 1 clock; no values.
    assert ps(index) == (96 + 64 + 6) * 1000
