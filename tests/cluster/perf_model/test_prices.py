from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.devices import device_of
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.perf_model.devices.work import Product, StoredWeights
from cluster.perf_model.memory.placement import ALL_IN_SRAM, uniform
from cluster.perf_model.prices import PriceError, PriceInputs, price_tables, steady_decode
from cluster.perf_model.prices.inputs import device_for
from cluster.perf_model.prices.stage_parts import layer_operations
from cluster.perf_model.tables import PriceTables
from cluster.scenario.formats import Formats
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import Model, load_model
from workloads.plan import Plan

Inputs: TypeAlias = Callable[..., PriceInputs]
LLAMA = "llama-3.1-8b"
TOKENS = 64
DENSE = (
    "norm+quant",
    "QKV",
    "RoPE",
    "QK^T",
    "softmax",
    "PV",
    "merge",
    "O",
    "all-reduce",
    "residual+norm+quant",
    "gate/up",
    "activation x mul",
    "down",
    "all-reduce+residual",
)
ROUTED = ("router", "router top-k", "expert gate/up", "expert activation x mul", "expert down")


@pytest.fixture
def inputs(hand_map: Callable[..., Any]) -> Inputs:
    """Corsair's catalogue on the map by hand, MXINT8 throughout, FP16 on the wire."""

    def build(
        model: Model | str = LLAMA, tensor: int = 4, pipeline: int = 1, expert: int = 1, **more: Any
    ) -> PriceInputs:
        corsair = load_hardware("corsair")
        figures = {name: corsair[name] for name in corsair.figures}
        cards = tensor * pipeline
        eight = get_format("mxint8")
        supplied = PriceInputs(
            hardware=figures | more.pop("figures", {}),
            routes=hand_map(cards),
            model=load_model(model) if isinstance(model, str) else model,
            plan=Plan(
                tensor_parallel_size=tensor,
                pipeline_parallel_size=pipeline,
                expert_parallel_size=expert,
            ),
            formats=Formats(weights=eight, activations=eight, kv=eight, wire=get_format("fp16")),
            cards=np.arange(cards).reshape(1, pipeline, tensor),
            max_tokens=TOKENS,
            max_rows=16,
            max_context=8192,
        )
        mode = more.pop("memory_mode", "performance")
        return replace(supplied, residency=uniform(mode, supplied.model, supplied.plan), **more)

    return build


def dispatched(supplied: PriceInputs, layer: int = 0) -> tuple[str, ...]:
    """Names of what one layer dispatches, in order."""
    operations = layer_operations(
        supplied,
        device_for(supplied),
        supplied.model.layers[layer],
        ALL_IN_SRAM,
        np.arange(supplied.max_tokens + 1),
    )
    return tuple(item.name for item in operations if item.dispatches)


def test_a_dense_layer_dispatches_fourteen_operations(inputs: Inputs) -> None:
    assert dispatched(inputs()) == DENSE


def test_routed_experts_add_router_and_combine(inputs: Inputs) -> None:
    names = dispatched(inputs("mixtral-8x7b"))

    assert names == (*DENSE[:10], *ROUTED, "expert combine", "all-reduce+residual")


def test_expert_parallelism_exchanges_tokens_in_place_of_all_reduces(inputs: Inputs) -> None:
    names = dispatched(inputs("mixtral-8x7b", expert=4))

    assert [name for name in names if name not in (*DENSE, *ROUTED, "expert combine")] == [
        "reduce-scatter",
        "dispatch all-to-all",
        "expert gather",
        "expert reduce",
        "combine all-to-all",
        "all-gather+residual",
    ]


def test_latent_attention_and_shared_experts_add_theirs_by_name(inputs: Inputs) -> None:
    names = dispatched(inputs("deepseek-v3"), layer=10)

    assert names[1:7] == (
        "latent down",
        "latent gather",
        "latent norm+quant",
        "query up",
        "RoPE",
        "absorb K",
    )
    assert names[10:13] == ("merge", "absorb V", "O")
    assert [name for name in names if name.startswith("shared")] == [
        "shared gate/up",
        "shared activation x mul",
        "shared down",
    ]


@pytest.mark.parametrize(
    ("model", "pipeline", "expert", "memory_mode"),
    [
        (LLAMA, 2, 1, "performance"),
        ("gpt-oss-20b", 1, 1, "capacity"),
        ("mixtral-8x7b", 1, 2, "performance"),
        ("deepseek-v3", 1, 4, "performance"),
    ],
)
def test_tables_start_at_nothing_never_fall_and_sum_to_their_split(
    inputs: Inputs, model: str, pipeline: int, expert: int, memory_mode: str
) -> None:
    tables = price_tables(inputs(model, 4, pipeline, expert, memory_mode=memory_mode))

    works_ps = tables.linear_ps + tables.collective_ps  # where norms are sharded one may fall
    assert (np.diff(works_ps, axis=1) >= 0).all()
    for name in ("linear_ps", "collective_ps", "floor_ps", "send_ps", "head_ps"):
        column = getattr(tables, name)
        assert not column[:, 0].any()
        assert name in ("linear_ps", "collective_ps") or (np.diff(column, axis=1) >= 0).all(), name
    assert (tables.linear_by_bound_ps.sum(axis=-1) == tables.linear_ps).all()
    assert (tables.head_by_bound_ps.sum(axis=-1) == tables.head_ps).all()
    assert (tables.linear_ps[:, 1:] > 0).all()


@pytest.mark.parametrize(("expert", "skew"), [(1, 0.0), (1, 1.0), (4, 0.0), (4, 1.0)])
def test_one_more_token_costs_no_less_under_experts_and_a_longer_table_moves_no_price(
    inputs: Inputs, expert: int, skew: float
) -> None:
    short, long = (
        price_tables(
            inputs(
                "gpt-oss-20b",
                4,
                expert=expert,
                memory_mode="capacity",
                max_tokens=tokens,
                expert_skew=skew,
            )
        )
        for tokens in (300, 2000)
    )

    # Where norms are shared by tokens less is work and more is collective: only the sum rises.
    assert (np.diff(long.linear_ps + long.collective_ps, axis=1) >= 0).all()
    assert (np.diff(long.floor_ps, axis=1) >= 0).all()
    for name in ("linear_ps", "collective_ps", "floor_ps"):
        assert (getattr(long, name)[:, :301] == getattr(short, name)).all(), name


def test_a_skew_of_the_experts_reaches_the_exchange_of_their_tokens(inputs: Inputs) -> None:
    even, skewed = (
        price_tables(inputs("gpt-oss-120b", 8, 2, 8, expert_skew=skew, max_tokens=512))
        for skew in (0.0, 1.0)
    )

    # The hottest of 8 ranks has 504 of 2,048 pairs instead of 279, so more tokens to send.
    assert (skewed.collective_ps[:, 64:] > even.collective_ps[:, 64:]).all()


def test_every_operation_pays_one_dispatch(inputs: Inputs) -> None:
    # 32 layers of 14, the embedding and its all-reduce; norm, head, top-k and sampling.
    free, paid = (
        price_tables(inputs(figures={"card.dispatch_s": dispatch_s})) for dispatch_s in (0.0, 1e-6)
    )

    assert paid.linear_ps[0, 5] - free.linear_ps[0, 5] == (32 * 14 + 2) * 1_000_000
    assert paid.head_ps[0, 5] - free.head_ps[0, 5] == 4 * 1_000_000


def test_stages_that_cost_the_same_share_a_class(inputs: Inputs) -> None:
    # Eight stages on four servers: first, middle to the next server, middle to its own, last.
    classes = price_tables(inputs(pipeline=8)).stage_class[0]

    assert classes[0] == 0
    assert classes[1] == classes[3] == classes[5]  # sends to the next server
    assert classes[2] == classes[4] == classes[6]  # sends to the other switch
    assert len(set(classes.tolist())) == 4


def test_a_single_card_still_reduces_over_its_chiplets(inputs: Inputs) -> None:
    tables = price_tables(inputs(tensor=1))
    d2d, package = tables.collective_bytes[0, 1, :2]

    # Twice a layer and once for the embedding: 8,192 bytes of FP16 in and out of each package.
    assert tables.collective_ps[0, 1] > 65 * 515_000
    assert d2d > package > 65 * 8192
    assert tables.collective_bytes[0, 1, 2:].sum() == 0


def test_a_send_is_a_part_from_each_card_and_the_last_stage_sends_nothing(inputs: Inputs) -> None:
    tables = price_tables(inputs(pipeline=2))
    first, last = tables.stage_class[0]

    assert tables.send_bytes[first, 10] == 10 * 4096 * 2 / 4
    assert tables.send_ps[first, 10] > 765_000  # through both switches
    assert not tables.send_ps[last].any()
    assert tables.return_ps.tolist() == [765_000]


def test_the_head_is_priced_on_the_last_stage_only(inputs: Inputs) -> None:
    tables = price_tables(inputs(pipeline=2))
    first, last = tables.stage_class[0]

    assert not tables.head_ps[first].any()
    assert (tables.head_ps[last, 1:] > 0).all()


def test_every_step_pays_for_its_host_at_the_first_stage(inputs: Inputs) -> None:
    free = price_tables(inputs(pipeline=2))
    tables = price_tables(inputs(pipeline=2, figures={"host.overhead_s": 100e-6}))
    first, last = tables.stage_class[0]

    assert tables.head_ps[first].tolist() == [100_000_000] * tables.head_ps.shape[1]
    assert tables.head_by_bound_ps[first, 0].tolist() == [0, 0, 0, 0, 0, 100_000_000]
    assert tables.head_ps[last].tolist() == free.head_ps[free.stage_class[0, 1]].tolist()
    assert tables.return_ps.tolist() == free.return_ps.tolist()


def test_a_batch_that_is_composed_ahead_waits_for_its_host_before_it_starts(
    inputs: Inputs,
) -> None:
    tables = price_tables(replace(inputs(figures={"host.overhead_s": 100e-6}), composed_ahead=True))

    assert tables.host_ps == 100_000_000
    assert tables.head_ps[0, 0] == 0


def test_capacity_mode_cannot_outrun_the_lpddr(inputs: Inputs) -> None:
    # A chiplet of 32 holds, of each layer, 4096 x 192 QKV, 128 x 4096 O, 4096 x 896 gate and up,
    # 448 x 4096 down, all at 65/64 byte: 6,922,240 bytes; at 40 GB/s.
    tables = price_tables(inputs(memory_mode="capacity"))

    assert tables.floor_ps[0, 1] == pytest.approx(32 * 6_922_240 / 40e9 * 1e12, abs=200)
    assert (tables.floor_ps[0, 1:] == tables.floor_ps[0, 1]).all()


def test_without_a_prefetch_buffer_each_product_waits_for_its_weights(inputs: Inputs) -> None:
    buffered = price_tables(inputs(memory_mode="capacity"))
    bare = price_tables(inputs(memory_mode="capacity", figures={"chiplet.prefetch_bytes": 0.0}))
    lpddr = bare.linear_by_bound_ps[0, 8, BOUNDS.index("lpddr")]

    assert not bare.floor_ps.any()
    # And for eight rows of the embedding, 4,160 bytes each at 40 GB/s, which nothing hides.
    assert lpddr == buffered.floor_ps[0, 8] + 832_000
    assert (bare.linear_ps[0, 1:] > buffered.linear_ps[0, 1:]).all()


def test_weights_in_sram_wait_for_no_lpddr(inputs: Inputs) -> None:
    tables = price_tables(inputs())

    assert not tables.floor_ps.any()
    assert not tables.linear_by_bound_ps[..., BOUNDS.index("lpddr")].any()


def test_windowed_layers_are_a_kind_of_their_own(inputs: Inputs) -> None:
    tables = price_tables(inputs("gpt-oss-20b"))

    # 64 heads over 8 KV heads, MXINT8; three products of each kind.
    assert tables.kinds.tolist() == [(0, 8 * 8, 64, 0), (128, 8 * 8, 64, 0)]
    assert tables.attention["kind"].tolist() == [[0, 0, 0, 1, 1, 1]]
    assert tables.attention["layers"].tolist() == [[12] * 6]


def test_what_is_not_modelled_is_refused_by_name(inputs: Inputs) -> None:
    llama = load_model(LLAMA)
    layer = llama.layers[0]

    def changed(**fields: Any) -> Model:
        attention = replace(layer.attention, **fields)
        return replace(llama, layers=(*llama.layers[1:], replace(layer, attention=attention)))

    refused = {
        r"compressed attention \(a cache of entries": changed(kind="compressed", compress=4),
        "chunks of 512 tokens": changed(chunk=512),
    }
    for words, model in refused.items():
        with pytest.raises(PriceError, match=words) as caught:
            price_tables(inputs(model))
        assert caught.value.exit_code == 3


def with_windows(*windows: int, kv_heads: int = 4) -> Model:
    """Llama with first layers of half the KV heads (32 query heads) that see these windows."""
    llama = load_model(LLAMA)
    layer = llama.layers[0]
    attention = replace(layer.attention, kv_heads=kv_heads)
    first = [replace(layer, attention=replace(attention, window=each)) for each in windows]
    return replace(llama, layers=(*first, *llama.layers[len(first) :]))


def test_every_window_and_shape_of_heads_is_a_kind_of_its_own(inputs: Inputs) -> None:
    tables = price_tables(inputs(with_windows(64, 128, 128)))

    # On four cards 2 KV heads with 4 queries each, or one with 8; MXINT8 takes 8 clocks a query.
    assert tables.kinds.tolist() == [(0, 32, 64, 0), (64, 64, 64, 0), (128, 64, 64, 0)]
    products = tables.attention[0]
    assert products["layers"][products["kind"] == 0].tolist() == [29] * 3
    assert products["layers"][products["kind"] == 2].tolist() == [2] * 3


def test_more_kinds_of_layers_than_the_log_has_columns_for_are_refused(inputs: Inputs) -> None:
    with pytest.raises(PriceError, match=r"at most 4 kinds of layers are modelled, got 5"):
        price_tables(inputs(with_windows(64, 128, 192, 256)))


def test_chunks_as_long_as_the_context_are_full_attention(inputs: Inputs) -> None:
    llama = load_model(LLAMA)
    layers = tuple(
        replace(layer, attention=replace(layer.attention, chunk=8192)) for layer in llama.layers
    )
    chunked = price_tables(inputs(replace(llama, layers=layers)))

    assert (chunked.linear_ps == price_tables(inputs()).linear_ps).all()


def test_floats_do_not_run_in_the_matrix_engine(inputs: Inputs) -> None:
    supplied = inputs()
    formats = replace(supplied.formats, weights=get_format("fp16"), kv=get_format("bf16"))

    with pytest.raises(PriceError, match=r"weights in fp16; .* kv in bf16"):
        price_tables(replace(supplied, formats=formats))


def test_four_bit_weights_are_faster_and_half_the_stream(inputs: Inputs) -> None:
    supplied = inputs(memory_mode="capacity")
    formats = replace(supplied.formats, weights=get_format("mxint4"))
    four, eight = price_tables(replace(supplied, formats=formats)), price_tables(supplied)

    assert four.floor_ps[0, 1] == pytest.approx(eight.floor_ps[0, 1] * 4.125 / 8.125, rel=1e-6)
    assert (four.linear_ps <= eight.linear_ps).all()


def steady_by_hand(tables: PriceTables, size: int) -> int:
    """One stage, one slot: its work at 16 blocks a sequence, and the way back."""
    from cluster.perf_model.attention import attention_ps, measures_of

    seen = measures_of(1, decode_blocks=16 * size)
    work = tables.linear_ps[0, size] + tables.collective_ps[0, size] + tables.head_ps[0, size]
    return int(work + attention_ps(tables.attention[0], seen) + tables.return_ps[0])


def test_steady_decode_of_one_stage_is_its_work_and_the_way_back(inputs: Inputs) -> None:
    tables = price_tables(inputs(figures={"host.overhead_s": 1e-6}))
    steady = steady_decode(tables, batch=12, context=1024)

    assert steady.cycle_ps == steady.loop_ps == steady_by_hand(tables, 12)
    assert steady.loop_by_bound_ps.sum() == steady.loop_ps
    assert steady.tokens_per_s == pytest.approx(12 / steady.tpot_s)


def test_one_package_gets_its_own_lpddr_and_what_the_package_link_brings(inputs: Inputs) -> None:
    # 1,024 x 1,024 weights used by one chiplet alone: four chiplets of its package read their
    # stripes at 40 GB/s x efficiency each, and half of the 64 GB/s link brings those of the others.
    supplied = inputs(
        figures={"links.efficiency": 0.5, "chiplet.lpddr_efficiency": 1.0}
        | {"chiplet.lpddr_bandwidth_bytes_per_s": 40e9}
    )
    device = device_of(supplied.hardware, supplied.formats, cards=1, expert_ranks=1, streams=True)
    stored = StoredWeights(k=1024, n=1024, shares=1)

    expected_s = float(stored.bytes_of(device.weights)) / (4 * 40e9 + 32e9)
    product = Product(m=np.array([1]), k=1024, n=64)
    assert device.matmul("one share", product, stored).far_ps == pytest.approx(
        expected_s * 1e12, abs=1
    )
