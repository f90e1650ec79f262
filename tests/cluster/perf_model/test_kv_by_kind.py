"""Room for KV by kind of layers: full ones keep all blocks, windowed ones those of their window."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cluster.perf_model.kv_capacity import KvCapacity, held_blocks
from cluster.perf_model.memory import Fit, MemorySettings, StageMemory, fit, stage_memory
from cluster.perf_model.memory.capacity import (
    capacity_of,
    in_sram,
    sequences_of,
    tokens_each,
)
from cluster.perf_model.memory.stage import steady_blocks, windows_of
from workloads.formats import get_format
from workloads.model import Attention, Layer, Mlp, Model, load_model
from workloads.plan import Plan

MXINT8 = get_format("mxint8")
SETTINGS = MemorySettings(weights=MXINT8, kv=MXINT8)
FULL = Attention(kind="gqa", heads=8, kv_heads=8, head_dim=64, value_dim=64)
SLIDING = replace(FULL, window=128)
HEAD_BYTES = 64 * (64 + 64) * 65 // 64
"""64 tokens of one head of both: each of a card's eight chiplets has one."""


def memory_of(
    model: Model, plan: Plan, hardware: dict[str, float], settings: MemorySettings
) -> tuple[StageMemory, ...]:
    """With weights where the mode has them; so is ``fitted``."""
    return stage_memory(model, plan, hardware, settings, settings.uniform(model, plan))


def fitted(model: Model, plan: Plan, hardware: dict[str, float], settings: MemorySettings) -> Fit:
    return fit(model, plan, hardware, settings, settings.uniform(model, plan))


@pytest.fixture
def hardware(figures: dict[str, float]) -> dict[str, float]:
    return figures | {"chiplet.prefetch_bytes": 8e6}


def model_of(*attentions: Attention) -> Model:
    mlp = Mlp(kind="dense", intermediate=1024)
    return Model(
        name="tiny",
        architecture="test",
        hidden=512,
        vocab=1024,
        layers=tuple(Layer(attention=each, mlp=mlp) for each in attentions),
        tied_embeddings=False,
        max_context=4096,
    )


def stage(
    full: Fraction | int, windowed: Fraction | int, sram: int, lpddr: int = 0, kv: str = "sram"
) -> StageMemory:
    """Blocks of so many bytes; a long sequence holds 100 full and 3 windowed ones."""
    return StageMemory(
        sram_weight_bytes=0,
        lpddr_weight_bytes=0,
        sram_bytes=sram,
        buffer_bytes=0,
        tail_bytes=0,
        lpddr_bytes=lpddr,
        kind_bytes=(Fraction(full), Fraction(windowed)),
        long_blocks=(100, 3),
        kv=kv,
    )


def inequalities(*stages: StageMemory) -> list[tuple[list[int], int]]:
    capacity = capacity_of(stages, (0, 128))
    rows = zip(capacity.block_units.tolist(), capacity.room_units.tolist(), strict=True)
    return list(rows)


def test_a_window_holds_its_blocks_and_those_of_the_chunk_beside_it() -> None:
    windows, tokens = np.array([0, 4096]), np.array([30_200, 64, 5000])

    # ceil((4095 + 512) / 64) + 1 = 73 beside a chunk of 512, ceil(4096 / 64) + 1 = 65 beside none.
    assert held_blocks(windows, tokens, 512, 64).tolist() == [[472, 73], [1, 1], [79, 73]]
    assert held_blocks(windows, tokens, 1, 64).tolist() == [[472, 65], [1, 1], [79, 65]]


def test_two_kinds_in_two_stages_are_two_inequalities(hardware: dict[str, float]) -> None:
    model = model_of(FULL, SLIDING, SLIDING, SLIDING)
    plan = Plan(pipeline_parallel_size=2)
    first, second = memory_of(model, plan, hardware, SETTINGS)
    found = fitted(model, plan, hardware, SETTINGS).capacity

    assert first.kind_bytes == (Fraction(HEAD_BYTES), Fraction(HEAD_BYTES))
    assert second.kind_bytes == (Fraction(0), Fraction(2 * HEAD_BYTES))
    assert found.windows.tolist() == [0, 128]
    # A unit is a block of one layer in the first stage, and of two in the second.
    assert found.block_units.tolist() == [[1, 1], [0, 1]]
    assert found.room_units.tolist() == [
        first.kv_sram_bytes // HEAD_BYTES,
        second.kv_sram_bytes // (2 * HEAD_BYTES),
    ]
    assert found.sram_units == found.room_units[0]


def test_units_are_the_largest_that_all_blocks_are_whole_numbers_of() -> None:
    # 3/2 and 9/4 bytes are two and three times 3/4 byte; 133 of these in 100 bytes.
    assert inequalities(stage(Fraction(3, 2), Fraction(9, 4), sram=100)) == [([2, 3], 133)]
    assert inequalities(stage(66_560, 66_560, sram=10**8)) == [([1, 1], 1502)]


def test_a_stage_that_another_one_implies_is_left_out() -> None:
    tight = stage(1000, 1000, sram=10_500)
    wide = stage(1000, 500, sram=12_000)  # 2 f + w <= 24 follows from f + w <= 10

    assert inequalities(wide, tight, tight) == [([1, 1], 10)]


def test_a_stage_that_is_tight_only_for_short_sequences_is_second() -> None:
    # f + w <= 10 and w <= 4: neither follows from the other; long sequences fill the first.
    few_full, only_windowed = stage(1000, 1000, sram=10_500), stage(0, 2000, sram=8000)

    assert inequalities(only_windowed, few_full) == [([1, 1], 10), ([0, 1], 4)]


def test_the_share_in_sram_is_that_of_every_stage() -> None:
    spilling = stage(1000, 1000, sram=5500, lpddr=20_700, kv="spill")
    less_sram = stage(2000, 2000, sram=8000, lpddr=100_000, kv="spill")
    both = capacity_of((spilling, less_sram), (0, 128))

    assert both.room_units.tolist() == [5 + 20]
    assert both.sram_units == 4
    assert capacity_of((spilling,), (0, 128)).sram_units == 5
    assert in_sram(both).room_units.tolist() == [4]


@pytest.mark.parametrize("kv", ["sram", "lpddr"])
def test_kv_in_one_place_is_there_whole(kv: str) -> None:
    found = capacity_of((stage(1000, 1000, sram=5500, lpddr=20_700, kv=kv),), (0, 128))

    assert found.room_units.tolist() == [5 if kv == "sram" else 20]
    assert found.sram_units == (5 if kv == "sram" else 0)


def test_with_prefix_caching_all_layers_are_one_kind(hardware: dict[str, float]) -> None:
    model, plan = load_model("gpt-oss-20b"), Plan(tensor_parallel_size=8, pipeline_parallel_size=4)
    unfreed = replace(SETTINGS, prefix_caching=True)
    whole, freed = fitted(model, plan, hardware, unfreed), fitted(model, plan, hardware, SETTINGS)

    assert whole.capacity.windows.tolist() == [0]
    assert whole.capacity.block_units.tolist() == [[1]]
    assert whole.capacity.room_units.tolist() == [whole.blocks]
    assert not whole.windowed
    assert whole.pool == (whole.blocks, whole.blocks)
    stage_bytes = [(each.kv_sram_bytes, sum(each.kind_bytes)) for each in whole.stages]
    assert whole.blocks == min(room // each for room, each in stage_bytes)
    # Half of the layers see 128 tokens and hold 3 blocks of a sequence of 2,048: twice as many.
    assert freed.blocks / whole.blocks == pytest.approx(2 * 2048 / 2051, rel=1e-3)


def test_a_window_that_no_sequence_leaves_is_none(hardware: dict[str, float]) -> None:
    model, plan = load_model("gpt-oss-20b"), Plan(tensor_parallel_size=8, pipeline_parallel_size=4)
    short = replace(SETTINGS, max_model_len=128)

    assert windows_of(model, short) == (0,)
    assert windows_of(model, replace(short, max_model_len=129)) == (0, 128)
    assert not fitted(model, plan, hardware, short).windowed


def test_a_model_without_windows_counts_in_blocks(hardware: dict[str, float]) -> None:
    spilling = replace(SETTINGS, pins=replace(SETTINGS.pins, kv="spill"))
    plan = Plan(tensor_parallel_size=4, pipeline_parallel_size=2)
    found = fitted(load_model("llama-3.1-8b"), plan, hardware, spilling)

    assert not found.windowed
    assert found.capacity.block_units.tolist() == [[1]]
    assert found.capacity.room_units.tolist() == [found.blocks]
    assert found.capacity.sram_units == found.sram_blocks < found.blocks


def test_layers_that_all_slide_hold_the_window(hardware: dict[str, float], tmp_path: Path) -> None:
    shape = {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-05,
        "hidden_act": "silu",
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(shape))
    settings = replace(SETTINGS, max_num_seqs=60)
    plan = Plan(tensor_parallel_size=4, pipeline_parallel_size=2)
    found = fitted(load_model(str(path)), plan, hardware, settings)
    capacity = found.capacity

    assert capacity.windows.tolist() == [4096]
    assert capacity.block_units.tolist() == [[1]]
    # (230.4 MB - 115.3 MB of weights - 1.94 MB of tails) / 66,560 bytes on each of 32 chiplets.
    assert capacity.room_units.tolist() == [1700] == [found.blocks]
    # Read in chunks of 512, a request of any length holds 73 blocks: sixteen fit at once.
    assert capacity.most_blocks(np.array([30_199, 120_009]), 512, 64).tolist() == [[73], [73]]
    assert capacity.admits(np.array([120_009]), 512, 64).all()
    assert 16 * 73 < 1700
    # In steady decoding 65 each: 26; with 27 and more, none may fill its window.
    assert sequences_of(capacity, 30_000, 64) == 1700 // 65 == 26
    assert tokens_each(capacity, 26, 64, 131_072) == 131_072
    assert tokens_each(capacity, 27, 64, 131_072) == 1700 * 64 // 27


@pytest.mark.parametrize(
    ("windowed_layers", "window", "kept_whole", "fit_now"), [(1, 128, 21, 40), (5, 1024, 29, 104)]
)
def test_as_many_prompts_of_8k_fit_as_in_vllm(
    windowed_layers: int, window: int, kept_whole: int, fit_now: int
) -> None:
    # For each full layer gpt-oss has one of 128 tokens and gemma-3 five of 1,024. In the memory of
    # 21 (29) sequences of 128 blocks in every layer, all decode but one, whose last chunk of 512
    # is read: 39 x (128 + 3) + (128 + 11) of 5,376 blocks of a layer, or of 22,272 it is
    # 103 x (128 + 5 x 17) + (128 + 5 x 25).
    room = kept_whole * 128 * (1 + windowed_layers)
    capacity = KvCapacity(
        windows=np.array([0, window]),
        block_units=np.array([[1, windowed_layers]]),
        room_units=np.array([room]),
        sram_units=room,
    )
    prompt = np.array([8192])
    decoding, reading = (
        int((capacity.most_blocks(prompt, chunk, 64) @ capacity.block_units.T)[0, 0])
        for chunk in (1, 512)
    )

    assert 1 + (room - reading) // decoding == fit_now


def test_equal_sequences_are_as_long_as_the_tightest_stage_lets_them() -> None:
    capacity = capacity_of((stage(1000, 1000, sram=100_000),), (0, 128))

    # Four of 100 units: 25 each, 3 of them (192 tokens) windowed.
    assert tokens_each(capacity, 4, 64, 4096) == (25 - 3) * 64
    assert sequences_of(capacity, 22 * 64, 64) == 4
    # Ten of 10: 7 and 3. Twenty-five of 4: shorter than the window, both kinds hold 2.
    assert tokens_each(capacity, 10, 64, 4096) == 7 * 64
    assert tokens_each(capacity, 25, 64, 4096) == 2 * 64


def test_a_full_pool_of_long_sequences_leaves_nothing_over(hardware: dict[str, float]) -> None:
    model = model_of(FULL, SLIDING, SLIDING, SLIDING)
    settings = replace(SETTINGS, max_model_len=4096)
    found = fitted(model, Plan(), hardware, settings)
    (memory,) = found.stages
    pool = next(each for each in found.holdings[0][0] if each.tensor_class == "kv")

    # 64 blocks of the full layer and 3 in each of three others: 73 for 64.
    assert steady_blocks(model, settings, 4096) == (64, 3)
    assert memory.block_bytes == HEAD_BYTES * Fraction(64 + 9, 64)
    assert found.blocks == memory.kv_sram_bytes // memory.block_bytes
    assert 0 <= found.headroom_bytes[0] < memory.block_bytes
    assert pool.size_bytes == found.blocks * 8 * HEAD_BYTES * (64 + 9) // 64
