"""Every layer and head of a prompt's KV goes once to each rank that needs it."""

import numpy as np
import pytest

from cluster.perf_model.kv_transfer_map import kv_shares
from cluster.perf_model.memory.shard import kv_block
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan

KV = get_format("mxint8")


def plan(tensor: int, pipeline: int) -> Plan:
    return Plan(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline)


def test_equal_plans_hand_over_between_ranks_of_the_same_place() -> None:
    shares = kv_shares(load_model("llama-3.1-8b"), plan(4, 2), plan(4, 2), 16, KV)

    assert np.array_equal(shares.source_stage, shares.target_stage)
    assert np.array_equal(shares.source_position, shares.target_position)
    # 2 of 8 heads, 16 layers; keys and values 128 wide, 8 bits and 8 / 64 bit of scale: 65 B a row.
    assert shares.block_bytes.tolist() == [[2 * 16 * 2 * 128 * 65]] * 8
    assert shares.first_layer.tolist() == [0] * 4 + [16] * 4
    # V's tail in FP16 takes 64 x 128 x 2 B, 8,064 B more than those 8,320 B of the block format.
    assert shares.tail_bytes.tolist() == [2 * 16 * (64 * 128 * 2 - 128 * 65)] * 8


@pytest.mark.parametrize(
    ("source", "target"), [((4, 2), (2, 1)), ((2, 1), (8, 4)), ((8, 3), (4, 5))]
)
def test_unequal_plans_hand_over_all_of_it_once(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    model = load_model("llama-3.1-8b")

    shares = kv_shares(model, plan(*source), plan(*target), 16, KV)

    block = sum(kv_block(layer.attention, Plan(), 16, KV).card for layer in model.layers)
    assert shares.block_bytes.sum() == block
    received = np.zeros(target, np.int64)
    np.add.at(received.T, (shares.target_stage, shares.target_position), shares.block_bytes[:, 0])
    assert (received.sum(axis=1) == block // target[0]).all()


def test_a_head_that_several_keep_comes_from_another_for_each_target() -> None:
    # 8 KV heads on 16 cards: cards 2h and 2h + 1 keep head h. Each sends to its own like.
    shares = kv_shares(load_model("llama-3.1-70b"), plan(16, 1), plan(16, 1), 16, KV)

    assert np.array_equal(shares.source_position, shares.target_position)
    assert shares.layers.tolist() == [80] * 16


def test_prompts_weigh_whole_blocks_and_a_tail_where_the_last_is_not_full() -> None:
    shares = kv_shares(load_model("llama-3.1-8b"), plan(1, 1), plan(1, 1), 16, KV)
    (block,), (tail,) = shares.block_bytes[:, 0], shares.tail_bytes

    assert shares.bytes_of(np.array([1, 64, 65]))[:, 0].tolist() == [
        block + tail,
        block,
        2 * block + tail,
    ]


def test_windowed_layers_transfer_the_blocks_of_the_window() -> None:
    # gpt-oss: 12 full layers, 12 that see 128 tokens; 8 heads of 64 + 64, 65 B for 64 elements.
    model = load_model("gpt-oss-20b")
    layers = 12 * 8 * 64 * (64 + 64) * 65 // 64

    shares = kv_shares(model, plan(1, 1), plan(1, 1), 16, KV)
    whole = kv_shares(model, plan(1, 1), plan(1, 1), 16, KV, whole=True)

    (tail,) = shares.tail_bytes
    prompts = np.array([100, 1000, 1024])
    # 1,000 tokens: 16 blocks, and 872..999 lie in the last three; 1,024: 896..1,023 in two.
    assert shares.bytes_of(prompts)[:, 0].tolist() == [
        (2 + 2) * layers + tail,
        (16 + 3) * layers + tail,
        (16 + 2) * layers,
    ]
    assert whole.bytes_of(prompts)[:, 0].tolist() == [
        (2 + 2) * layers + tail,
        (16 + 16) * layers + tail,
        (16 + 16) * layers,
    ]
