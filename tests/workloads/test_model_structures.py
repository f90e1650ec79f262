"""Structures beyond plain attention: counted by hand, and named where they are not simulated."""

import pytest

from workloads.formats import get_format
from workloads.model import (
    Model,
    ModelError,
    kv_bytes_of_sequence,
    not_modelled,
    parse_config,
    simulation_conditions,
)

BASE: dict[str, object] = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 2,
    "vocab_size": 10,
    "max_position_embeddings": 512,
}
OUTSIDE = 2 * 10 * 8 + 8  # embedding, head, final norm
GQA = 8 * (4 + 2 + 2) * 2 + 8 * 8  # queries, keys, values of width 2; output
MLP = 3 * 8 * 16


def read(**changes: object) -> Model:
    return parse_config(BASE | changes, "tiny")


def elements(model: Model, layer: int, *roles: str) -> int:
    return sum(t.elements for t in model.layer_tensors(layer) if t.role in roles)


@pytest.mark.parametrize("model_type", ["llama", "a_new_one", None])
def test_fields_decide_and_not_the_name_of_the_type(model_type: object) -> None:
    assert read(model_type=model_type).parameters == OUTSIDE + 2 * (GQA + MLP + 2 * 8)


def test_a_type_without_a_name_is_said_to_be_read_by_its_fields() -> None:
    assert read(model_type="a_new_one").notes[0].startswith("read by its fields alone")
    assert read(model_type="llama").notes == ()


@pytest.mark.parametrize("section", ["text_config", "llm_config"])
def test_of_a_model_with_pictures_the_text_model_is_read(section: str) -> None:
    whole = {
        "model_type": "llava",
        "vision_config": {"hidden_size": 1024},
        "tie_word_embeddings": True,
        section: BASE | {"model_type": "llama"},
    }
    model = parse_config(whole, "tiny")

    assert model.layers == read(model_type="llama").layers
    assert model.tied_embeddings
    assert model.notes == ("the text model alone is counted",)


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        ({"type": "linear", "factor": 4.0}, 2048),
        ({"rope_type": "dynamic", "factor": 2}, 1024),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}, 512),
        ({"rope_type": "llama3", "factor": 8.0}, 512),
        ({"rope_type": "linear", "factor": float("inf")}, 512),
        ({"rope_type": "linear", "factor": "four"}, 512),
    ],
)
def test_linear_scaling_multiplies_the_longest_context_and_yarn_is_within_it(
    scaling: dict[str, object], longest: int
) -> None:
    assert read(rope_scaling=scaling).max_context == longest
    assert read(rope_parameters=scaling).max_context == longest


HYBRID = BASE | {
    "model_type": "nemotron_h",
    "num_hidden_layers": 4,
    "hybrid_override_pattern": "M-*E",
    "mamba_num_heads": 4,
    "mamba_head_dim": 3,
    "n_groups": 2,
    "ssm_state_size": 5,
    "conv_kernel": 4,
    "mlp_hidden_act": "relu2",
    "mamba_ssm_cache_dtype": "float32",
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 7,
    "moe_latent_size": 3,
    "n_shared_experts": 1,
    "moe_shared_expert_intermediate_size": 9,
}


def test_a_mamba_layer_is_counted_by_hand() -> None:
    model = parse_config(HYBRID, "tiny")
    inner, states = 4 * 3, 2 * 5
    projected = 8 * (inner + inner + states + states + 4) + inner * 8
    vectors = (4 + 1) * (inner + 2 * states) + 3 * 4  # taps and biases; time bias, decay, skip

    assert elements(model, 0, "attention", "other") == projected + vectors
    assert elements(model, 0, "norm") == 8 + inner


def test_a_mamba_layer_keeps_a_state_of_fixed_size() -> None:
    model = parse_config(HYBRID, "tiny")
    state, inputs = 4 * 3 * 5, (12 + 2 * 10) * 3

    assert model.state_elements_per_sequence == state + inputs
    assert model.state_bytes_per_sequence == state * 4 + inputs * 2
    assert model.kv_elements_per_token == 2 * (2 + 2)  # of the one layer with attention


def test_blocks_of_a_hybrid_are_halves_of_layers() -> None:
    model = parse_config(HYBRID, "tiny")

    assert [layer.attention.kind for layer in model.layers] == ["mamba", "none", "gqa", "none"]
    assert elements(model, 1, "mlp") == 2 * 8 * 16  # up and down, no gate
    assert elements(model, 2, "attention") == GQA
    assert [elements(model, layer, "norm") for layer in (1, 2, 3)] == [8, 8, 8]


def test_experts_in_a_latent_space_are_as_narrow_as_it() -> None:
    model = parse_config(HYBRID, "tiny")

    assert elements(model, 3, "expert") == 6 * 2 * 3 * 7
    assert elements(model, 3, "shared_expert") == 2 * 8 * 9
    assert elements(model, 3, "router") == 8 * 6 + 6 + 2 * (8 * 3)  # and the latent, both ways


def test_a_pattern_with_an_unknown_letter_is_refused() -> None:
    with pytest.raises(ModelError, match="4 letters of M"):
        parse_config(HYBRID | {"hybrid_override_pattern": "M-*X"}, "tiny")


SEARCHED = BASE | {
    "model_type": "nemotron-nas",
    "hidden_size": 768,
    "num_key_value_heads": None,
    "intermediate_size": None,
    "block_configs": [
        {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.1}},
        {"attention": {"no_op": True}, "ffn": {"no_op": True}},
    ],
}


def test_searched_layers_have_sizes_of_their_own() -> None:
    first, second = parse_config(SEARCHED, "tiny").layers

    assert (first.attention.heads, first.attention.kv_heads) == (4, 2)
    assert first.mlp.intermediate == 768  # 2 x 1.1 x 768 / 3 = 563, in multiples of 256
    assert (second.attention.kind, second.mlp.kind) == ("none", "none")


def test_a_searched_block_that_is_a_linear_layer_is_refused() -> None:
    blocks = [{"attention": {"replace_with_linear": True}, "ffn": {"no_op": True}}] * 2

    with pytest.raises(ModelError, match="such blocks are not understood"):
        parse_config(SEARCHED | {"block_configs": blocks}, "tiny")


def test_layers_in_a_window_may_have_heads_of_their_own() -> None:
    model = read(
        hybrid_layer_pattern=[0, 1],
        sliding_window=4,
        swa_num_attention_heads=8,
        swa_num_key_value_heads=4,
        v_head_dim=3,
        swa_v_head_dim=5,
    )
    full, sliding = (layer.attention for layer in model.layers)

    assert (full.window, full.heads, full.kv_heads, full.value_dim) == (0, 4, 2, 3)
    assert (sliding.window, sliding.heads, sliding.kv_heads, sliding.value_dim) == (4, 8, 4, 5)
    assert not_modelled(model) == ()


def test_full_layers_may_make_values_by_the_projection_of_the_keys() -> None:
    model = read(
        model_type="gemma4_text",
        hidden_activation="gelu_pytorch_tanh",
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=4,
        global_head_dim=6,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
    )

    assert elements(model, 0, "attention") == GQA
    assert elements(model, 1, "attention") == 8 * (4 * 6 + 6) + 4 * 6 * 8  # no values
    assert elements(model, 1, "norm") == 4 * 8 + 2 * 6
    assert model.kv_elements_per_token == 2 * 2 * 2 + 2 * 6
    assert model.tied_embeddings


def test_norms_over_all_heads_are_as_wide_as_the_heads_together() -> None:
    model = read(model_type="minimax_m2", use_qk_norm=True, qk_norm_type="per_layer")

    assert elements(model, 0, "norm") == 2 * 8 + 4 * 2 + 2 * 2


def test_an_indexer_of_blocks_is_in_the_layers_that_have_it() -> None:
    indexed = {
        "use_sparse_attention": True,
        "sparse_attention_freq": [0, 1],
        "sparse_num_index_heads": 3,
        "sparse_index_dim": 5,
        "sparse_topk_blocks": 2,
        "sparse_block_size": 4,
        "sparse_disable_index_value": [0, 1],
    }
    model = read(sparse_attention_config=indexed)
    plain, sparse = (layer.attention for layer in model.layers)

    assert (plain.index_tokens, sparse.index_tokens) == (0, 8)
    assert elements(model, 1, "attention") == GQA + 8 * (3 * 5) + 8 * 5 + 8 * 3
    assert sparse.kv_elements_per_token == plain.kv_elements_per_token + 5


def test_experts_come_where_a_list_or_the_first_dense_layers_say() -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 3}
    for words in ({"moe_layer_freq": [0, 1]}, {"first_k_dense_replace": 1}):
        model = read(**experts, **words, n_shared_experts=2)

        assert [layer.mlp.kind for layer in model.layers] == ["dense", "moe"]
        assert elements(model, 1, "shared_expert") == 3 * 8 * (2 * 3)


COMPRESSED = BASE | {
    "model_type": "deepseek_v4",
    "num_key_value_heads": 1,
    "compress_ratios": [4, 128],
    "hc_mult": 2,
    "sliding_window": 64,
    "q_lora_rank": 6,
    "o_groups": 2,
    "o_lora_rank": 3,
    "index_n_heads": 3,
    "index_head_dim": 4,
    "index_topk": 9,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 3,
    "topk_method": "noaux_tc",
}


def test_compressed_attention_is_counted_by_hand() -> None:
    model = parse_config(COMPRESSED, "tiny")
    queries = 8 * 6 + 6 * (4 * 2)
    output = 2 * (4 * 3) + (2 * 3) * 8  # two groups of two heads of width 2, then to the hidden
    plain = queries + 8 * 2 + 4 + output  # and the shared key-value and the sinks
    picked = 2 * 8 * (2 * 2) + 6 * (3 * 4) + 8 * 3 + 2 * 8 * (2 * 4)

    assert elements(model, 1, "attention") == plain + 2 * 8 * 2
    assert elements(model, 0, "attention") == plain + picked


def test_compressed_attention_keeps_a_window_and_an_entry_for_several_tokens() -> None:
    model = parse_config(COMPRESSED | {"compress_ratios": [2, 0], "head_dim": 64}, "tiny")
    int8 = get_format("mxint8")
    windows = 2 * (2 * 64) * 64  # both layers: two blocks of 64 tokens, 64 wide
    entries = 512 * (64 + 4) // 2  # one layer: an entry and an index key for two tokens

    assert kv_bytes_of_sequence(model, int8, 512) == int8.bytes_of(windows + entries)


def test_what_is_not_simulated_is_named_with_what_it_would_take() -> None:
    assert [words.split(" (")[0] for words in not_modelled(parse_config(COMPRESSED, "tiny"))] == [
        "compressed attention",
        "hyper-connections",
    ]
    assert all(
        "would be needed" in words for words in not_modelled(parse_config(COMPRESSED, "tiny"))
    )
    assert not_modelled(parse_config(HYBRID, "tiny")) == ()
    assert not_modelled(read()) == simulation_conditions(read()) == ()


def test_several_windows_and_ratios_of_heads_are_simulated() -> None:
    ratios = read(hybrid_layer_pattern=[0, 1], sliding_window=4, swa_num_key_value_heads=4)
    blocks = [
        {"attention": {"n_heads_in_group": 2, "window_length": w}, "ffn": {"ffn_mult": 1.0}}
        for w in (64, 128)
    ]
    windows = parse_config(SEARCHED | {"block_configs": blocks}, "tiny")

    for model in (ratios, windows):
        assert not_modelled(model) == simulation_conditions(model) == ()
