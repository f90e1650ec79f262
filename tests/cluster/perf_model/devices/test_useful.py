"""Useful work, and the utilisations MBU and MFU that a run reports."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import load, simulate
from cluster.perf_model.attention import Heads
from cluster.perf_model.devices.useful import attention_useful, product_useful
from cluster.perf_model.devices.work import Product, StoredWeights
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_BLOCKS, PREFILL_PAIRS, PREFILL_PASSES
from results import open_run
from workloads.formats import get_format

EIGHT_BITS = get_format("mxint8")  # 8.125 bits an element
LAYER = 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336
"""Parameters of the products of a layer of Llama-3.1-8B: Q, K and V, O, gate, up, down."""
HEAD = 4096 * 128256
COLUMNS = ("stage", "start_s", "end_s", "mbu", "mfu")
KV_BLOCK_ELEMENTS = 64 * 2 * 1024
"""Of 64 tokens in one layer."""


def test_a_product_reads_its_weights_once_and_has_two_flop_a_weight_and_vector() -> None:
    # 128 x 512 weights of 8.125 bits are 66,560 B = 1,040 lines; 3 vectors 384 kflop of 1,024.
    stored = StoredWeights(k=128, n=512, shares=8)
    product = Product(m=np.array([0, 3]), k=128, n=64)

    assert product_useful(product, stored, EIGHT_BITS).tolist() == [[0, 0], [1040, 384]]


def test_experts_count_the_vectors_of_all_and_the_matrices_that_are_read() -> None:
    stored = StoredWeights(k=128, n=512, shares=8, copies=np.array([2]))
    product = Product(m=np.array([4]), k=128, n=64, copies=2, vectors=np.array([5]))

    assert product_useful(product, stored, EIGHT_BITS).tolist() == [[2080, 640]]


def test_heads_with_vectors_of_their_own_count_all_of_a_card() -> None:
    # 3 tokens, 32 heads of 128 x 512 weights, 4 on each of 8 chiplets.
    stored = StoredWeights(k=128, n=512, shares=32, copies=32)
    product = Product(m=np.array([3]), k=128, n=512, copies=4, own_x=True)

    assert product_useful(product, stored, EIGHT_BITS).tolist() == [[32 * 1040, 32 * 384]]


@pytest.mark.parametrize(("latent", "lines"), [(False, 520), (True, 260)])
def test_keys_and_values_are_read_once_and_a_latent_is_both(latent: bool, lines: int) -> None:
    # 64 tokens x 2 heads x (128 + 128) elements are 33,280 B; 8 queries see a pair in 4,096 flop.
    heads = Heads(kv_heads=2, queries_per_kv_head=4, key_dim=128, value_dim=128, latent=latent)
    counts = attention_useful(heads, EIGHT_BITS)

    assert counts[DECODE_BLOCKS].tolist() == [lines, 64 * 4]
    assert counts[PREFILL_BLOCKS].tolist() == [lines, 0]
    assert counts[PREFILL_PAIRS].tolist() == [0, 4]
    assert counts[PREFILL_PASSES].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("hardware", "element_bytes", "tensor", "pipeline", "bandwidth", "flop_per_s"),
    [
        # 150 TB/s and 2,400 TFLOPS of MXINT8 a card; H100: 3.35 TB/s, 989 TFLOPS of BF16.
        ("corsair", 8.125 / 8, 4, 2, 150e12, 2400e12),
        ("h100", 2.0, 4, 1, 3.35e12, 989e12),
    ],
)
def test_a_request_needs_what_a_hand_can_count(
    hardware: str,
    element_bytes: float,
    tensor: int,
    pipeline: int,
    bandwidth: float,
    flop_per_s: float,
) -> None:
    # A prompt of 64 tokens, which emits the first token, and a decode step at 65 (two blocks).
    scenario: dict[str, Any] = {
        "hardware": hardware,
        "model": "llama-3.1-8b",
        "plan": {
            "tensor_parallel_size": tensor,
            "pipeline_parallel_size": pipeline,
            "replicas": 1,
        },
        "workload": {
            "synthetic": {
                "requests": 1,
                "arrivals": {"concurrency": 1},
                "prompt_tokens": {"fixed": 64},
                "output_tokens": {"fixed": 2},
            }
        },
    }
    run = simulate(load(scenario))
    weights = 2 * (32 * LAYER + HEAD)
    moved = element_bytes * (weights + 3 * 32 * KV_BLOCK_ELEMENTS)
    pairs = 64 * 65 // 2 + 128  # the decode step in whole blocks
    flop = 2 * (65 * 32 * LAYER + 2 * HEAD) + 32 * pairs * 2 * 32 * 2 * 128

    card_s = run.summary["duration"] * tensor * pipeline
    assert run.summary["mbu"] * card_s * bandwidth == pytest.approx(moved, rel=1e-3)
    assert run.summary["mfu"] * card_s * flop_per_s == pytest.approx(flop, rel=1e-3)


def test_the_bins_of_all_ranks_add_up_to_the_summary(tmp_path: Path) -> None:
    traffic = {"preset": "azure-conv-2023", "requests": 20}
    plan = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "replicas": 1}
    scenario = {"model": "llama-3.1-8b", "plan": plan, "formats": {"weights": "mxint4"}}
    run = simulate(load({**scenario, "workload": {"synthetic": traffic}}))
    table = open_run(run.save(tmp_path)).table("cards")
    cards = {name: table[name].to_numpy(zero_copy_only=False) for name in COLUMNS}
    ranks = ~np.isnan(cards["stage"].astype(float))
    began = cards["start_s"][0]
    ended = np.minimum(cards["end_s"], began + run.summary["duration"])
    lasted = np.where(ranks, ended - cards["start_s"], 0.0)

    assert np.isnan(cards["mbu"][~ranks].astype(float)).all()
    for name in ("mbu", "mfu"):
        share = np.where(ranks, cards[name], 0.0)
        assert share.max() <= 1.0
        mean = (share * lasted).sum() / lasted.sum()
        assert mean == pytest.approx(run.summary[name], rel=1e-9)
