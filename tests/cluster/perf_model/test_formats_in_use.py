"""What a format changes: bytes in memory, bytes on wires, clocks in the cores; by hand."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from cluster import load
from cluster.perf_model.devices.dimc import DimcCard
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.devices.useful import USEFUL
from cluster.perf_model.memory import MemorySettings, stage_memory
from cluster.perf_model.prices import PriceError, price_tables
from cluster.perf_model.prices.inputs import PriceInputs, device_for
from cluster.perf_model.prices.stage_parts import layer_operations
from cluster.scenario.resolve import resolve
from cluster.serving.run import Layout, lay_out

NORMS = 65 * 4096
MATRICES = 8_030_261_248 - NORMS
"""Parameters of Llama-3.1-8B in matrices and tables."""


def laid_out(mode: str = "performance", **formats: str) -> Layout:
    """Llama-3.1-8B on one server, TP 4 x PP 2; MXINT8 and FP16 on the wire where not said."""
    return lay_out(resolve(load(formats=formats, memory={"mode": mode})))


def weight_bytes(layout: Layout) -> int:
    """Of all cards, norms left out."""
    cards = (card for stage in layout.fit.holdings for card in stage)
    return sum(
        each.size_bytes
        for card in cards
        for each in card
        if each.tensor_class not in ("kv", "kv_tail", "norm")
    )


def operations(layout: Layout) -> dict[str, Any]:
    """The first layer's operations by name, for 0 to 64 tokens."""
    supplied = layout.inputs
    places = supplied.places(0).layers[0]
    layer = supplied.model.layers[0]
    listed = layer_operations(supplied, device_for(supplied), layer, places, np.arange(65))
    return {item.name: item for item in listed}


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        ("mxint8", 8.125),
        ("mxint8_k32", 8.25),
        ("mxint4", 4.125),
        ("bfp12_16", 4.5),
        ("sbfp12_16", 4.5),
        ("sbfp12_16+4:8", 3.25),
        ("sbfp12_16+2:8", 2.125),
        ("mxfp4", 4.25),
        ("mxfp6_e2m3", 6.25),
        ("mxfp8", 8.25),
        ("nvfp4", 4.5),
    ],
)
def test_weights_take_their_bits_in_memory(weights: str, bits: float) -> None:
    assert weight_bytes(laid_out(weights=weights)) == MATRICES * bits / 8


def test_a_partial_sparse_block_on_a_chiplet_counts_whole() -> None:
    # down is cut along k into 14,336 / 32 = 448 rows, 224 kept: three and a half blocks of 64
    half_blocks = 32 * 4096 * 32
    """Layers, columns, chiplets: so many begun exponents, half of each too much."""

    found = weight_bytes(laid_out(weights="mxint8+4:8"))
    assert found == MATRICES * 5.0625 / 8 + half_blocks * 0.5


def test_sparse_weights_are_streamed_smaller_and_multiplied_alike() -> None:
    dense, sparse = (
        operations(laid_out("capacity", weights=weights))
        for weights in ("bfp16_64", "sbfp12_16+4:8")
    )

    assert sparse["QKV"].far_ps[1] / dense["QKV"].far_ps[1] == pytest.approx(3.25 / 8.125)
    for name, operation in dense.items():
        assert np.array_equal(sparse[name].ps, operation.ps), name


@pytest.mark.parametrize(
    ("storage", "multiplied_as"),
    [
        ("sbfp12_16+4:8", "mxint8"),
        ("bfp12_16", "mxint8"),
        ("mxint4_k32", "mxint8"),
        ("mxint4+2:8", "mxint4"),
        ("bfp12_128", "mxint4"),
        ("mxint16_k32", "mxint16"),
        ("mxfp4", "mxint8"),
        ("nvfp4", "mxint8"),
    ],
)
def test_in_sram_storage_costs_the_clocks_of_what_it_is_expanded_to(
    storage: str, multiplied_as: str
) -> None:
    supplied = laid_out("capacity").inputs  # in which everything fits; priced as if in SRAM
    ours, theirs = (
        price_tables(replace(supplied, residency=None, formats=formats_of(weights)))
        for weights in (storage, multiplied_as)
    )

    for field in fields(ours):
        one, other = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name in ("token_counts", "head_counts"):  # bytes as stored are another use
            one, other = (np.delete(each, COUNTS.index(USEFUL[0]), -1) for each in (one, other))
        assert np.array_equal(one, other), field.name


def card_of(inputs: PriceInputs) -> DimcCard:
    card = device_for(inputs)
    assert isinstance(card, DimcCard)
    return card


def formats_of(weights: str) -> Any:
    return resolve(load(formats={"weights": weights})).formats


def test_clocks_follow_both_widths() -> None:
    def mode(weights: str, activations: str) -> tuple[int, int]:
        card = card_of(laid_out(weights=weights, activations=activations).inputs)
        return card.mode.columns, card.mode.clocks_per_vector

    assert mode("mxint8", "mxint8") == (64, 8)
    assert mode("mxint4", "mxint8") == (128, 8)
    assert mode("mxint8", "mxint4") == (64, 4)
    assert mode("mxint4", "mxint4") == (128, 4)
    assert mode("sbfp12_16", "mxint8") == (64, 8)


def test_the_cache_takes_its_own_bits_and_columns() -> None:
    eight, four = laid_out(), laid_out(kv="mxint4")

    # 64 tokens of 16 layers, 8 KV heads of K and V of 128 over 32 chiplets
    elements = 16 * 64 * 8 * 2 * 128 // 32
    for layout, bits in ((eight, 8.125), (four, 4.125)):
        supplied = layout.inputs
        settings = MemorySettings(weights=supplied.formats.weights, kv=supplied.formats.kv)
        stages = stage_memory(
            supplied.model, supplied.plan, supplied.hardware, settings, supplied.placed
        )
        assert stages[0].block_bytes == elements * bits / 8
    assert card_of(four.inputs).kv_mode.columns == 2 * card_of(eight.inputs).kv_mode.columns


def test_a_link_carries_the_bits_of_the_wire_format() -> None:
    sent = {
        wire: price_tables(laid_out(wire=wire).inputs).send_bytes[0, 64]
        for wire in ("fp16", "mxint8", "fp8_e5m2", "mxint8_k32")
    }

    # 64 rows of 4,096 elements leave in quarters from the four cards of a stage
    elements = 64 * 4096 // 4
    assert sent == {
        "fp16": elements * 2,
        "mxint8": elements * 8.125 / 8,
        "fp8_e5m2": elements,
        "mxint8_k32": elements * 8.25 / 8,
    }


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        ({"kv": "fp8"}, "does not run kv in fp8_e4m3; it multiplies integers: mxint8"),
        ({"weights": "bf16+4:8"}, r"does not run weights in bf16\+4:8"),
        ({"activations": "sbfp12_16"}, "say formats.activations: bfp16_64"),
        ({"activations": "mxfp4"}, "mxfp4, which is for storage and expanded to bfp16_64"),
        ({"activations": "mxint8_k32"}, "expanded to bfp16_64 before it is multiplied"),
        ({"activations": "mxint8+4:8"}, "only weights are stored sparse"),
        ({"kv": "mxint8+2:8"}, r"formats.kv is mxint8\+2:8, and only weights"),
        ({"wire": "fp16+4:8"}, "formats.wire is fp16"),
    ],
)
def test_formats_that_cannot_be_used_so_are_refused(formats: dict[str, str], said: str) -> None:
    supplied = replace(laid_out().inputs, formats=resolve(load(formats=formats)).formats)

    with pytest.raises(PriceError, match=said):
        price_tables(supplied)
