import pickle
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.perf_model.memory import (
    DoesNotFit,
    Fit,
    MemoryInputError,
    MemorySettings,
    StageMemory,
    fit,
    stage_memory,
)
from cluster.perf_model.memory.shard import kv_block, shard
from workloads.formats import get_format
from workloads.model import (
    Attention,
    Layer,
    Mlp,
    Model,
    Tensor,
    kv_bytes_per_token,
    load_model,
)
from workloads.plan import Plan

MXINT8, MXINT4, FP16 = (get_format(name) for name in ("mxint8", "mxint4", "fp16"))
SETTINGS = MemorySettings(weights=MXINT8, kv=MXINT8)


def plan_of(group: int, stages: int, experts: int = 1) -> Plan:
    return Plan(
        tensor_parallel_size=group, pipeline_parallel_size=stages, expert_parallel_size=experts
    )


def tiny(attention: Attention, *, hidden: int = 512) -> Model:
    mlp = Mlp(kind="dense", intermediate=1024)
    return Model(
        name="tiny",
        architecture="test",
        hidden=hidden,
        vocab=1024,
        layers=(Layer(attention=attention, mlp=mlp),) * 4,
        tied_embeddings=False,
        max_context=4096,
    )


GQA = Attention(kind="gqa", heads=8, kv_heads=8, head_dim=64, value_dim=64)


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


def test_the_weights_of_8b_are_the_published_8_16_gb_and_the_norms_copies(
    hardware: dict[str, float],
) -> None:
    result = fitted(load_model("llama-3.1-8b"), plan_of(4, 2), hardware, SETTINGS)
    cards = [holding for stage in result.holdings for card in stage for holding in card]
    weights = sum(each.size_bytes for each in cards if each.tensor_class not in ("kv", "kv_tail"))
    norms = sum(each.size_bytes for each in cards if each.tensor_class == "norm")

    # 65 norms of 4,096 FP16: 32 and 33 of them on the 32 chiplets of each stage.
    assert norms == 65 * 4096 * 2 * 32
    # 8.03e9 parameters, 65 x 4,096 of them in the norms, at 8.125 bits.
    assert weights - norms == (8_030_261_248 - 65 * 4096) * 65 // 64
    assert weights - norms == pytest.approx(8.16e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "group", "stages", "kilobytes"),
    [("llama-3.1-8b", 4, 2, 66.56), ("llama-3.1-70b", 4, 16, 166.4)],
)
def test_a_token_of_kv_has_the_published_size(
    hardware: dict[str, float], name: str, group: int, stages: int, kilobytes: float
) -> None:
    model = load_model(name)
    memory = memory_of(model, plan_of(group, stages), hardware, SETTINGS)
    chiplets = group * 8

    token_bytes = sum(stage.block_bytes for stage in memory) * chiplets / 64
    assert float(token_bytes) == kilobytes * 1000
    assert token_bytes == kv_bytes_per_token(model, MXINT8)


def test_the_context_of_60_users_is_that_of_the_published_figures(
    hardware: dict[str, float],
) -> None:
    settings = replace(SETTINGS, max_num_seqs=60)
    blocks = fitted(load_model("llama-3.1-8b"), plan_of(4, 2), hardware, settings).blocks

    # (230.4 MB - 127.80 MB of weights - 1.94 MB of tails) / 66,560 bytes on each of 32 chiplets.
    assert blocks == 1512
    # One pool of eight chiplets of 256 MB a card, 90 % usable; 1,564 is published, of 2 GB a card.
    pool = (8 * 8 * 256e6 * 0.9 - 8.16e9) / (60 * 66_560)
    assert 0.97 * pool < blocks * 64 / 60 < pool


def test_blocks_of_another_size_hold_as_many_tokens(hardware: dict[str, float]) -> None:
    model, plan = load_model("llama-3.1-8b"), plan_of(4, 2)
    blocks = {
        size: fitted(model, plan, hardware, replace(SETTINGS, block_size=size)).blocks
        for size in (16, 64, 256)
    }

    assert blocks[16] // 4 == blocks[64]
    assert blocks[256] == blocks[64] // 4


def test_heads_fewer_than_chiplets_share_a_context_by_blocks() -> None:
    # Two heads: the blocks of each go around four chiplets. 64 x (64 + 64) x 65 / 64 bytes.
    two = replace(GQA, heads=2, kv_heads=2)

    block = kv_block(two, plan_of(1, 1), 8, MXINT8)
    assert block.chiplet == 8320 / 4
    assert block.card == 2 * 8320


def test_more_heads_than_chiplets_count_as_the_fullest_has_them() -> None:
    # Twelve heads on eight chiplets: some have two.
    twelve = replace(GQA, heads=12, kv_heads=12)

    assert kv_block(twelve, plan_of(1, 1), 8, MXINT8).chiplet == 2 * 8320


def test_kv_heads_fewer_than_cards_are_replicated() -> None:
    two = replace(GQA, heads=8, kv_heads=2)

    assert kv_block(two, plan_of(4, 1), 8, MXINT8) == kv_block(two, plan_of(2, 1), 8, MXINT8)


def test_every_rank_holds_the_latent() -> None:
    latent = Attention(
        kind="mla",
        heads=8,
        kv_heads=8,
        head_dim=192,
        value_dim=128,
        kv_lora_rank=512,
        rope_dim=64,
        nope_dim=128,
    )

    for cards in (1, 8):
        assert kv_block(latent, plan_of(cards, 1), 8, MXINT8).card == 64 * 576 * 65 // 64


LATENT = replace(
    GQA,
    kind="mla",
    heads=128,
    kv_heads=128,
    head_dim=192,
    value_dim=128,
    kv_lora_rank=512,
    rope_dim=64,
    nope_dim=128,
)


def test_a_latent_in_blocks_is_kept_as_keys_and_as_values() -> None:
    # 64 tokens: 576 wide along themselves and 512 wide along the tokens, 8.125 bits each; the last
    # block of the second is FP16.
    once, twice = (kv_block(LATENT, plan_of(8, 1), 8, MXINT8, 16, copies) for copies in (1, 2))

    assert once.card == 64 * 576 * 65 // 64
    assert twice.card == 64 * (576 + 512) * 65 // 64
    assert twice.tail_card == 64 * 512 * 2 - 64 * 512 * 65 // 64
    assert twice.chiplet == twice.card / 8


def test_a_latent_without_block_exponents_is_kept_once() -> None:
    assert kv_block(LATENT, plan_of(8, 1), 8, FP16, 16, 2).card == 64 * 576 * 2


def test_a_token_of_deepseek_v3_has_61_latents_of_576_and_of_512(
    hardware: dict[str, float],
) -> None:
    model = load_model("deepseek-v3")
    once, twice = (
        memory_of(model, plan_of(8, 16), hardware, replace(SETTINGS, latent_copies=copies))
        for copies in (1, 2)
    )

    def token_bytes(stages: tuple[StageMemory, ...]) -> Fraction:
        return sum((stage.block_bytes for stage in stages), Fraction(0)) * 8 / 64

    assert token_bytes(once) == 61 * 576 * Fraction(65, 64) == Fraction(35_685)
    assert token_bytes(twice) == 61 * 1088 * Fraction(65, 64) == Fraction(67_405)
    assert kv_bytes_per_token(model, MXINT8) == 35_685
    assert kv_bytes_per_token(model, MXINT8, 2) == 67_405
    assert kv_bytes_per_token(model, FP16, 2) == kv_bytes_per_token(model, FP16)


def test_the_last_block_of_v_stays_fp16() -> None:
    block = kv_block(GQA, plan_of(1, 1), 8, MXINT8)

    assert block.tail_card == 8 * (64 * 64 * 2 - 64 * 64 * 65 // 64)
    assert kv_block(GQA, plan_of(1, 1), 8, FP16).tail_card == 0


def test_the_largest_shard_counts_in_units_of_64() -> None:
    # 1,344 columns are 21 units: on eight chiplets the fullest has three.
    model = tiny(GQA)
    gate = replace(
        next(tensor for tensor in model.layer_tensors(0) if tensor.name == "gate"), n=1344
    )

    held = shard(gate, plan_of(1, 1), 0, 8, FP16)
    assert held.chiplet == 512 * 3 * 64 * 2
    assert held.card == 512 * 1344 * 2


def units_dealt(tensor: Tensor, plan: Plan, matrices: int) -> tuple[list[int], list[int]]:
    """Units on the fullest chiplet, and in all, of each card."""
    unit_bytes = 512 * 64 * 2
    held = [
        shard(tensor, plan, card, 8, FP16, matrices) for card in range(plan.tensor_parallel_size)
    ]
    assert not any(each.chiplet % unit_bytes or each.card % unit_bytes for each in held)
    return [each.chiplet // unit_bytes for each in held], [each.card // unit_bytes for each in held]


def test_layers_take_the_units_that_do_not_divide_in_turn() -> None:
    # 21 units on two cards are 11 and 10, on 8 chiplets each. Of three layers the first card has
    # 11, 10, 11 and the second the other 31: both have four on their fullest chiplet, not six.
    gate = replace(
        next(tensor for tensor in tiny(GQA).layer_tensors(0) if tensor.name == "gate"), n=1344
    )

    assert units_dealt(gate, plan_of(2, 1), 1) == ([2, 2], [11, 10])
    assert units_dealt(gate, plan_of(2, 1), 3) == ([4, 4], [32, 31])


@given(units=st.integers(1, 40), cards=st.sampled_from([1, 2, 3, 8]), layers=st.integers(1, 50))
def test_what_is_dealt_is_the_rule_followed_matrix_by_matrix(
    units: int, cards: int, layers: int
) -> None:
    gate = replace(tiny(GQA).layer_tensors(0)[-2], k=512, n=64 * units, split="column")
    on = np.zeros((cards, 8), np.int64)
    next_card, next_chiplet = 0, [0] * cards
    for _ in range(layers):
        matrix = np.full(cards, units // cards)
        for extra in range(units % cards):
            matrix[(next_card + extra) % cards] += 1
        next_card = (next_card + units % cards) % cards
        for card, own in enumerate(matrix.tolist()):
            part = np.full(8, own // 8)
            for extra in range(own % 8):
                part[(next_chiplet[card] + extra) % 8] += 1
            assert part.max() <= -(-units // (cards * 8))  # as a cut of this matrix alone has
            next_chiplet[card] = (next_chiplet[card] + own) % 8
            on[card] += part

    fullest, whole = units_dealt(gate, plan_of(cards, 1), layers)
    assert fullest == on.max(axis=1).tolist() == on[:, 0].tolist()
    assert whole == on.sum(axis=1).tolist()
    assert on.max() - on.min() <= 1


def test_gpt_oss_20b_in_mxint4_fits_on_one_server(hardware: dict[str, float]) -> None:
    model, plan = load_model("gpt-oss-20b"), plan_of(8, 1)
    four = replace(SETTINGS, weights=MXINT4)
    found = fitted(model, plan, hardware, four).stages[0]

    # Experts: 24 layers of 32, each three matrices of 45 units of 64 x 2,880 on 64 chiplets.
    matrix_units = 24 * 32 * 45 / 64
    assert matrix_units == 540
    experts = 3 * 540 * MXINT4.matrix_bytes(2880, 64)
    # q: 8 units, k and v one each on eight chiplets; o: 8 of 64 rows; router: 32 columns on one.
    wide = MXINT4.matrix_bytes(2880, 64)
    attention = 24 * wide + 2 * 24 // 8 * wide + 24 * MXINT4.matrix_bytes(64, 2880)
    router = 3 * MXINT4.matrix_bytes(2880, 32)
    # 3,142 units of vocabulary on 64 chiplets, twice.
    tables = 2 * 50 * wide
    # FP16 on every chiplet: 49 norms, and a bias each of the outputs and of every expert's down.
    vectors = 2 * 2880 * (49 + 24 + 24 * 32) + 2 * 32 * 24
    # Biases by columns: 540 units of gate and of up, 24 of q, 3 of k and of v; 8 sinks in 3 layers.
    biases = 2 * 64 * (2 * 540 + 24 + 2 * 3) + 2 * 8 * 3
    assert found.sram_weight_bytes == experts + attention + router + tables + vectors + biases
    # All of it were 244.5 MB of 230.4 if every expert began at the first chiplet.
    assert found.sram_weight_bytes == 173_731_344
    assert found.fits


def test_embeddings_are_on_the_first_stage_and_the_head_on_the_last(
    hardware: dict[str, float],
) -> None:
    result = fitted(tiny(GQA), plan_of(1, 3), hardware, SETTINGS)
    classes = [{each.tensor_class for each in stage[0]} for stage in result.holdings]

    assert ["embedding" in found for found in classes] == [True, False, False]
    assert ["head" in found for found in classes] == [False, False, True]


def test_capacity_mode_has_weights_in_lpddr_and_kv_in_sram(hardware: dict[str, float]) -> None:
    settings = replace(SETTINGS, mode="capacity")
    result = fitted(load_model("llama-3.1-70b"), plan_of(4, 2), hardware, settings)

    assert {each.where for each in result.holdings[0][0] if each.tensor_class == "mlp"} == {"lpddr"}
    assert {each.where for each in result.holdings[0][0] if each.tensor_class == "kv"} == {"sram"}
    # 230.4 MB less the 8 MB prefetch buffer, 80 norms of 8,192 FP16 and one tail, in blocks of 40
    # layers on 32 chiplets.
    stage = result.stages[0]
    assert result.blocks == (230_400_000 - stage.reserved_bytes) // stage.block_bytes
    norms = 80 * 8192 * 2
    assert stage.reserved_bytes == pytest.approx(8e6 + norms, rel=0.02)


def test_a_refusal_names_what_would_fit(hardware: dict[str, float]) -> None:
    with pytest.raises(DoesNotFit) as caught:
        fitted(load_model("llama-3.1-8b"), plan_of(4, 1), hardware, SETTINGS)
    message = str(caught.value)

    assert caught.value.exit_code == 3
    assert "stage 0 needs 255.8 MB of SRAM" in message
    assert "has 230.4 MB, short by 25.4 MB" in message
    assert "6 cards (tensor_parallel_size 2 x pipeline_parallel_size 3)" in message
    assert "memory.mode: capacity fits" in message
    assert "formats.weights: mxint4 fits" in message


def test_what_would_fit_is_searched_for_only_when_it_is_printed(
    hardware: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def advice(*of: object) -> str:
        searched.append(len(of))
        return "buy more"

    monkeypatch.setitem(fit.__globals__, "advice", advice)
    with pytest.raises(DoesNotFit) as caught:
        fitted(load_model("llama-3.1-8b"), plan_of(4, 1), hardware, SETTINGS)

    assert searched == []
    assert caught.value.lack.endswith("has 230.4 MB, short by 25.4 MB")
    assert str(pickle.loads(pickle.dumps(caught.value))) == f"{caught.value.lack}; buy more"
    assert searched == [4]


@pytest.mark.parametrize("name", ["llama-3.1-70b", "gpt-oss-20b", "mixtral-8x7b"])
def test_the_smallest_cluster_that_is_named_does(hardware: dict[str, float], name: str) -> None:
    model = load_model(name)
    with pytest.raises(DoesNotFit) as caught:
        fitted(model, plan_of(1, 1), hardware, SETTINGS)
    named = re.search(
        r"has (\d+) cards \(tensor_parallel_size (\d+) x pipeline_parallel_size (\d+)"
        r"(?:, expert_parallel_size (\d+))?",
        str(caught.value),
    )

    assert named is not None
    cards, group, stages, experts = (int(number or 1) for number in named.groups())
    assert cards == group * stages
    assert fitted(model, plan_of(group, stages, experts), hardware, SETTINGS).blocks >= 1


def test_a_model_beyond_every_cluster_is_reported(hardware: dict[str, float]) -> None:
    small = hardware | {"chiplet.sram_bytes": 1e6}

    with pytest.raises(DoesNotFit, match="no cluster of up to 4096 cards"):
        fitted(load_model("llama-3.1-8b"), plan_of(4, 2), small, SETTINGS)


def test_lpddr_can_fall_short_too(hardware: dict[str, float]) -> None:
    small = hardware | {"chiplet.lpddr_bytes": 1e8}

    with pytest.raises(DoesNotFit, match=r"254\.9 MB of LPDDR .* short by 154\.9 MB"):
        fitted(load_model("llama-3.1-8b"), plan_of(4, 1), small, replace(SETTINGS, mode="capacity"))


@pytest.mark.parametrize("size", [0, 48, 100])
def test_a_block_is_a_multiple_or_a_divisor_of_64(size: int) -> None:
    with pytest.raises(MemoryInputError, match=f"of 64 tokens, got {size}"):
        replace(SETTINGS, block_size=size)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(MemoryInputError, match="performance, capacity, auto, got 'quick'"):
        replace(SETTINGS, mode=cast("Any", "quick"))


def test_compressed_attention_is_refused() -> None:
    compressed = replace(GQA, kind="compressed", compress=4)

    with pytest.raises(MemoryInputError, match="the memory of compressed attention"):
        kv_block(compressed, plan_of(1, 1), 8, MXINT8)
