from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.model import Model, Tensor, load_model, parse_config
from workloads.plan import Plan, PlanError
from workloads.shards import Slices, slices, stage_tensors, tensor_slice

MIXTURE: dict[str, object] = {
    "model_type": "mixtral",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 32,
}
LATENT: dict[str, object] = {
    "model_type": "deepseek_v3",
    "hidden_size": 128,
    "intermediate_size": 576,
    "moe_intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "topk_method": "noaux_tc",
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "vocab_size": 1000,
    "max_position_embeddings": 32,
}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    cards = draw(st.sampled_from([1, 2, 4, 8]))
    subgroups = draw(st.sampled_from([size for size in (1, 2, 4, 8) if cards % size == 0]))
    return Plan(
        tensor_parallel_size=cards,
        expert_parallel_size=subgroups,
        pipeline_parallel_size=draw(st.integers(1, 3)),
    )


def times_held(held: Slices, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """How many ranks hold each element of one tensor: [count, k, n]."""
    tensor = held.tensors[index]
    seen = np.zeros((tensor.count, tensor.k, tensor.n), np.int64)
    for row in np.flatnonzero(held.tensor == index):
        seen[
            held.count_start[row] : held.count_stop[row],
            held.k_start[row] : held.k_stop[row],
            held.n_start[row] : held.n_stop[row],
        ] += 1
    return seen


def expected(tensor: Tensor, plan: Plan) -> int:
    """On how many cards of a stage each element lies."""
    if tensor.split == "replicated":
        subgroups = plan.expert_parallel_size if tensor.role == "expert" else 1
        return plan.tensor_parallel_size // subgroups
    if tensor.split == "kv_head":
        return max(1, plan.tensor_parallel_size // 2)  # two KV heads
    return 1


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([MIXTURE, LATENT]), plans())
def test_every_element_is_held_once_or_by_every_card(config: dict[str, object], plan: Plan) -> None:
    model = parse_config(config, "tiny")
    held = slices(model, plan)

    for index, tensor in enumerate(held.tensors):
        assert set(np.unique(times_held(held, index))) == {expected(tensor, plan)}, tensor.name


@given(plans())
def test_layers_live_on_the_ranks_of_their_stage(plan: Plan) -> None:
    held = slices(parse_config(MIXTURE, "tiny"), plan)
    layers = np.array([tensor.layer for tensor in held.tensors])[held.tensor]
    stages = held.rank // plan.tensor_parallel_size

    for layer in range(3):
        assert len(set(stages[layers == layer].tolist())) == 1
    assert held.rank.max() == plan.cards_per_replica - 1


def test_embedding_is_first_and_head_is_last() -> None:
    plan = Plan(pipeline_parallel_size=3)
    stages = stage_tensors(parse_config(MIXTURE, "tiny"), plan)

    assert [[t.name for t in stage if t.layer < 0] for stage in stages] == [
        ["embedding"],
        [],
        ["final_norm", "head"],
    ]


def tied(stages: int) -> Counter[str]:
    model = parse_config(MIXTURE | {"tie_word_embeddings": True}, "tiny")
    held = stage_tensors(model, Plan(pipeline_parallel_size=stages))
    return Counter(t.name for stage in held for t in stage if t.layer < 0)


def test_a_tied_table_is_copied_to_the_last_stage_only_where_that_is_another() -> None:
    assert tied(1) == {"embedding": 1, "final_norm": 1}
    assert tied(3) == {"embedding": 2, "final_norm": 1}


def named(model: Model, layer: int, name: str) -> Tensor:
    return next(t for t in model.layer_tensors(layer) if t.name == name)


def test_whole_experts_go_to_subgroups_and_are_sliced_there() -> None:
    up = named(parse_config(MIXTURE, "tiny"), 0, "expert_up")
    plan = Plan(tensor_parallel_size=4, expert_parallel_size=2)

    held = [tensor_slice(up, plan, position) for position in range(4)]
    assert [part.count for part in held] == [range(4), range(4), range(4, 8), range(4, 8)]
    assert [part.n for part in held] == [range(256), range(256, 512)] * 2


def test_uneven_widths_are_cut_in_blocks_and_the_first_cards_hold_more() -> None:
    down = named(load_model("gpt-oss-20b"), 0, "expert_down")

    held = [tensor_slice(down, Plan(tensor_parallel_size=2), card).k for card in (0, 1)]
    assert held == [range(23 * 64), range(23 * 64, 45 * 64)]


def test_cards_beyond_the_blocks_of_a_width_hold_nothing_of_it() -> None:
    up = named(load_model("qwen3-30b-a3b"), 0, "expert_up")  # 768 = 12 blocks

    held = [tensor_slice(up, Plan(tensor_parallel_size=16), card).n for card in range(16)]
    assert [len(part) for part in held] == [64] * 12 + [0] * 4


def test_a_plan_that_cannot_cut_the_model_is_refused() -> None:
    with pytest.raises(PlanError, match="8 attention heads do not divide"):
        slices(parse_config(MIXTURE, "tiny"), Plan(tensor_parallel_size=3))
