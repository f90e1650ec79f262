"""Times of GPU kernels against sums by hand: round figures on the H100's file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cluster.perf_model.attention import Heads, layer_products, measures_of
from cluster.perf_model.devices import device_of, module_of
from cluster.perf_model.devices.gpu import BOUNDS, COUNTS, Gpu
from cluster.perf_model.devices.work import Product, StoredWeights
from cluster.perf_model.protocols import Figures
from cluster.scenario.formats import Formats
from topology.catalog import Hardware, load_hardware
from workloads.formats import FormatError, get_format

US = 10**6
"""Picoseconds."""
ROUND = {
    "gpu.memory_bandwidth_bytes_per_s": 1e12,
    "gpu.bf16_flop_per_s": 1e15,
    "gpu.fp8_flop_per_s": 2e15,
    **{
        f"gpu.{name}_{what}": value
        for name in ("gemm", "fp8_gemm", "attention", "fp8_attention", "expert", "fp8_expert")
        for what, value in (
            ("bandwidth_efficiency", 0.5),
            ("flop_efficiency", 0.5),
            ("latency_s", 4e-6),
        )
    },
    "gpu.vector_bandwidth_efficiency": 0.5,
    "gpu.attention_query_bandwidth_efficiency": 0.25,
    "engine.eager_layer_s": 0.0,
}
"""Half a TB/s, 500 TFLOPS, 4 us."""


def hardware(**more: float) -> Hardware:
    """The H100 with round figures."""
    return load_hardware(
        "h100", ROUND | {key.replace("__", "."): each for key, each in more.items()}
    )


def formats(every: str = "bf16", **more: str) -> Formats:
    names = {"weights": every, "activations": every, "kv": every, "wire": "bf16"} | more
    return Formats(**{use: get_format(name) for use, name in names.items()})


def gpu(used: Formats | None = None, figures: Figures | None = None, **more: Any) -> Gpu:
    found = device_of(
        figures or hardware(**more), used or formats(), cards=1, expert_ranks=1, streams=False
    )
    assert isinstance(found, Gpu)
    return found


def matmul(device: Gpu, m: Any, k: int, n: int, **more: Any) -> Any:
    product = Product(m=np.atleast_1d(np.asarray(m, np.int64)), k=k, n=n, **more)
    return device.matmul("product", product, StoredWeights(k=k, n=n, shares=1))


def test_a_product_takes_its_latency_and_its_bytes_where_flop_are_few() -> None:
    # 1,000 x 1,000 weights and two vectors of 1,000, 2 B each: 2,004,000 B at 0.5 TB/s
    found = matmul(gpu(), 1, 1000, 1000)

    assert found.ps[0] == pytest.approx(4 * US + 4.008 * US, rel=1e-6)
    assert BOUNDS[found.bound[0]] == "memory"


def test_bytes_and_flop_of_equal_length_take_a_quarter_more_than_either() -> None:
    # m = 2,000 of 1,000 x 1,000: 10e6 B at 0.25 TB/s and 4e9 flop at 100 TFLOPS take 40 us each
    device = gpu(gpu__bf16_flop_per_s=2e14, gpu__memory_bandwidth_bytes_per_s=5e11)
    found = matmul(device, 2000, 1000, 1000)

    assert found.ps[0] == pytest.approx(4 * US + 40 * US * 2 ** (1 / 3), rel=1e-6)
    assert BOUNDS[found.bound[0]] == "tensor"


def test_no_vectors_take_no_time_and_small_products_are_bound_by_their_launch() -> None:
    found = matmul(gpu(), [0, 1], 64, 64)

    assert found.ps[0] == 0
    assert BOUNDS[found.bound[1]] == "launch"
    assert not found.counts[0].any()


def test_a_product_never_gets_faster_with_more_vectors() -> None:
    found = matmul(gpu(), np.arange(4097), 4096, 4096)

    assert (np.diff(found.ps) >= 0).all()


def test_experts_read_the_weights_of_those_awake_and_multiply_the_pairs() -> None:
    # 10 experts of 1,000 x 1,000 are awake for 40 pairs of 20 tokens; half of 8 us of latency
    device = gpu(gpu__expert_latency_s=8e-6)
    found = matmul(
        device,
        4,
        1000,
        1000,
        copies=np.array([10]),
        x_rows=np.array([20]),
        vectors=np.array([40]),
    )

    moved = 10 * 2_000_000 + 20 * 2000 + 40 * 2000
    assert found.ps[0] == pytest.approx(4 * US + moved / 5e11 * 1e12, rel=1e-4)
    counted = dict(zip(COUNTS, found.counts[0].tolist(), strict=True))
    assert counted["memory_lines"] == round(moved / 64)
    assert counted["tensor_16_bit_kflop"] == round(2 * 40 * 1e6 / 1024)


def test_eight_bit_products_have_constants_and_a_count_of_their_own() -> None:
    used = formats("fp8")
    slow = gpu(used, gpu__fp8_gemm_latency_s=9e-6)

    found = matmul(slow, 1, 1000, 1000)

    # 1 B a weight, 1 B read and 2 B written of each vector's element
    assert found.ps[0] == pytest.approx(9 * US + 2.006 * US, rel=1e-6)
    assert found.counts[0, COUNTS.index("tensor_8_bit_mflop")] == 2


@pytest.mark.parametrize(
    ("kinds", "wide", "narrow"),
    [
        (("norm", "quantize"), 4, 7),  # read and written; once more read, 1 B written
        (("residual", "norm", "quantize"), 8, 11),
        (("rope",), 4, 4),
        (("activation", "quantize"), 6, 9),
    ],
)
def test_vector_work_takes_its_bytes(kinds: tuple[str, ...], wide: int, narrow: int) -> None:
    elements = np.array([0, 1000])

    for used, each in ((formats(), wide), (formats("fp8"), narrow)):
        found = gpu(used).vector("work", (elements, kinds))
        assert found.ps.tolist() == [0, each * 1000 * 2]  # 2 ps a byte


def test_attention_takes_a_launch_its_blocks_and_its_pairs_one_after_the_other() -> None:
    heads = Heads(kv_heads=2, queries_per_kv_head=4, key_dim=128, value_dim=128)
    records = gpu().attention_records(heads, 3, 0)
    # a block: 64 x 2 heads x 256 x 2 B = 65,536 B at 0.5 TB/s; a pair: 2 x 8 x 256 flop
    block_ps, pair_ps = 131_072, 4096 / 5e14 * 1e12

    decode, chunk = (
        layer_products(records, measures[np.newaxis])[0].sum()
        for measures in (
            measures_of(1, decode_blocks=5),
            measures_of(1, prefill_blocks=2, prefill_passes=2, prefill_pairs=8256),
        )
    )

    assert decode == 4 * US + 5 * block_ps
    assert chunk == pytest.approx(4 * US + 2 * block_ps + 8256 * pair_ps, abs=2)


def test_layers_of_steps_too_large_for_a_graph_wait_for_their_launches() -> None:
    device = gpu(engine__eager_layer_s=600e-6, engine__captured_tokens=512, engine__layer_s=10e-6)
    tokens, works_ps = np.array([0, 512, 513, 8192]), US * np.array([0, 100, 100, 900])

    (end,) = device.layer_end(tokens, works_ps)

    assert end.ps.tolist() == [0, 10 * US, (10 + 500) * US, 10 * US]
    assert device.layer_end_above == 0
    assert gpu(engine__eager_layer_s=1e-6, engine__layer_s=0.0).layer_end_above == 512
    assert gpu(engine__layer_s=0.0).layer_end_above is None


def test_queries_and_context_go_through_attention_at_a_share_of_their_own() -> None:
    heads = Heads(kv_heads=2, queries_per_kv_head=4, key_dim=128, value_dim=128)

    (moved,) = gpu().attention_dispatches(heads, np.array([0, 1, 1000]))

    # 8 + 2 heads of 128 + 128 in and out, 2 bytes each: 5,120 bytes a token at 250 GB/s
    assert moved.ps.tolist() == [0, 20_480, 20_480_000]


def test_a_latent_is_read_once_as_keys_and_as_values() -> None:
    heads = Heads(kv_heads=1, queries_per_kv_head=2, key_dim=576, value_dim=512, latent=True)

    counts = gpu().attention_counts(heads)

    assert counts[0, COUNTS.index("memory_lines")] == 64 * 576 * 2 // 64


def test_the_host_needs_time_for_a_step_and_for_every_sequence() -> None:
    device = gpu(engine__step_s=1e-3, engine__sequence_s=20e-6)

    assert device.host_ps(np.array([0, 1, 10])).tolist() == [1000 * US, 1020 * US, 1200 * US]
    assert not device.host_overlaps


def test_memory_is_what_the_engine_takes_less_what_it_keeps() -> None:
    figures = hardware(
        gpu__memory_bytes=80e9,
        engine__memory_fraction=0.9,
        engine__reserved_bytes=3e9,
        engine__communication_bytes=1e9,
    )

    room = module_of(figures).room(figures)

    assert (room.near_bytes, room.far_bytes, room.buffer_bytes) == (68e9, 0, 0)


def test_energy_of_a_flop_is_what_static_power_and_memory_leave_of_the_board() -> None:
    figures = hardware(
        card__tdp_w=700,
        card__static_w=100,
        energy__memory_j_per_bit=5e-12,
        energy__tensor_share=1,
    )
    module = module_of(figures)
    parts = dict(zip(module.COUNTS, module.count_joules(figures).sum(axis=1), strict=True))

    # 0.15 TB/s x 40 pJ = 6 W of memory: 594 W for 500 TFLOPS, 1.188 pJ a flop
    assert parts["tensor_16_bit_kflop"] == pytest.approx(1024 * 1.188e-12)
    assert parts["tensor_8_bit_mflop"] == pytest.approx(1024**2 * 1.188e-12 / 2)
    assert parts["memory_lines"] == pytest.approx(64 * 40e-12)


@pytest.mark.parametrize(
    ("device", "used", "named"),
    [
        ("h100", {"every": "mxint8"}, "mxint8"),
        ("a100", {"every": "fp8"}, "formats.activations is fp8_e4m3"),
        ("h100", {"activations": "nvfp4", "weights": "nvfp4"}, "formats.activations is nvfp4"),
        ("h100", {"activations": "fp8"}, "wider"),
        ("b200", {"kv": "nvfp4"}, "formats.kv is nvfp4"),
    ],
)
def test_formats_without_a_peak_are_refused_with_those_that_have_one(
    device: str, used: Mapping[str, str], named: str
) -> None:
    figures = load_hardware(device)

    (breach, *_) = module_of(figures).format_breaches(figures, formats(**used))

    assert named in breach
    assert "bf16" in breach
    with pytest.raises(FormatError, match="formats"):
        device_of(figures, formats(**used), cards=1, expert_ranks=1, streams=False)


def test_weights_may_be_narrower_than_the_activations() -> None:
    figures = load_hardware("h100")

    found = module_of(figures).format_breaches(figures, formats(weights="mxfp4"))

    assert found == []


def test_a_file_without_figures_of_eight_bits_has_one_set_for_all_formats() -> None:
    figures = load_hardware("mi300x")

    assert gpu(formats("fp8"), figures).gemm.latency_s == figures["gpu.gemm_latency_s"]
