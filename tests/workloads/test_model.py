import pytest

from workloads.formats import get_format
from workloads.model import (
    Attention,
    Mlp,
    Model,
    ModelError,
    kv_bytes_per_token,
    list_models,
    load_model,
    parse_config,
    weight_bytes,
)

TINY: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 10,
    "max_position_embeddings": 32,
}


def tiny(**changes: object) -> Model:
    return parse_config(TINY | changes, "tiny")


def test_a_tiny_llama_is_counted_by_hand() -> None:
    attention = 8 * 8 + 2 * (8 * 4) + 8 * 8  # q, k and v of two heads of width 2, output
    layer = attention + 3 * 8 * 16 + 2 * 8  # gate, up, down; two norms

    assert tiny().parameters == 2 * layer + 2 * 10 * 8 + 8


def test_a_tied_head_is_counted_once() -> None:
    model = tiny(tie_word_embeddings=True)

    assert model.parameters == tiny().parameters - 10 * 8


def test_biases_are_counted_where_the_config_has_them() -> None:
    extra = tiny(attention_bias=True, mlp_bias=True).parameters - tiny().parameters

    assert extra == 2 * ((8 + 4 + 4 + 8) + (16 + 16 + 8))


@pytest.mark.parametrize("name", list_models())
def test_tensors_sum_to_the_parameters(name: str) -> None:
    model = load_model(name)

    assert sum(t.k * t.n * t.count for t in model.tensors()) == model.parameters
    assert model.active_parameters <= model.parameters


def test_the_weights_of_a_llama_layer_make_four_products_in_order() -> None:
    tensors = load_model("llama-3.1-8b").layer_tensors(0)

    assert [(t.product, t.k, t.n, t.split) for t in tensors if t.product] == [
        ("qkv", 4096, 4096, "column"),
        ("qkv", 4096, 1024, "kv_head"),
        ("qkv", 4096, 1024, "kv_head"),
        ("output", 4096, 4096, "row"),
        ("gate_up", 4096, 14336, "column"),
        ("gate_up", 4096, 14336, "column"),
        ("down", 14336, 4096, "row"),
    ]


def test_dense_models_work_with_all_of_their_parameters() -> None:
    model = load_model("llama-3.1-8b")

    assert model.active_parameters == model.parameters


def test_cache_and_weights_of_llama_8b_match_the_hardware_sheet() -> None:
    model, mxint8 = load_model("llama-3.1-8b"), get_format("mxint8")

    assert kv_bytes_per_token(model, mxint8) == 66_560  # 66.6 KB
    assert weight_bytes(model, mxint8) == pytest.approx(8.16e9, rel=1e-3)
    assert kv_bytes_per_token(load_model("llama-3.1-70b"), mxint8) == 166_400


def test_latent_attention_keeps_one_latent_and_one_rotary_key_per_layer() -> None:
    assert load_model("deepseek-v3").kv_elements_per_token == 61 * (512 + 64)


def test_gpt_oss_alternates_a_window_of_128_with_full_layers() -> None:
    windows = [layer.attention.window for layer in load_model("gpt-oss-20b").layers]

    assert windows == [128, 0] * 12


def test_deepseek_begins_with_three_dense_layers() -> None:
    kinds = [layer.mlp.kind for layer in load_model("deepseek-v3").layers]

    assert kinds == ["dense"] * 3 + ["moe"] * 58


def test_only_what_pricing_must_know_of_is_called_irregular() -> None:
    assert all(load_model(name).irregular == () for name in list_models())


def test_qwen_slides_only_above_its_full_layers() -> None:
    changes: dict[str, object] = {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
    }

    assert [layer.attention.window for layer in tiny(**changes).layers] == [0, 16]


def test_a_window_that_is_switched_off_is_none() -> None:
    model = tiny(model_type="qwen2", use_sliding_window=False, sliding_window=16)

    assert [layer.attention.window for layer in model.layers] == [0, 0]


def test_mistral_slides_everywhere_where_it_has_a_window() -> None:
    model = tiny(model_type="mistral", sliding_window=4096)

    assert {layer.attention.window for layer in model.layers} == {4096}


def test_sparse_layers_of_a_qwen_mixture_come_at_every_step() -> None:
    model = tiny(
        model_type="qwen3_moe",
        num_hidden_layers=4,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=4,
        decoder_sparse_step=2,
        mlp_only_layers=[3],
    )

    assert [layer.mlp.kind for layer in model.layers] == ["dense", "moe", "dense", "dense"]
    assert model.active_parameters == model.parameters - (8 - 2) * 3 * 8 * 4


def hybrid() -> Model:
    return tiny(
        model_type="qwen3_next",
        num_hidden_layers=4,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=4,
        shared_expert_intermediate_size=4,
        linear_num_key_heads=1,
        linear_num_value_heads=2,
        linear_key_head_dim=3,
        linear_value_head_dim=5,
        linear_conv_kernel_dim=4,
    )


def test_linear_layers_keep_a_state_and_no_cache() -> None:
    linear, full = hybrid().layers[0].attention, hybrid().layers[3].attention

    assert (linear.kv_elements_per_token, full.state_elements) == (0, 0)
    assert linear.state_elements == 2 * 3 * 5 + (3 + 3 + 10) * 3
    assert hybrid().irregular == ("linear attention",)
    assert hybrid().kv_elements_per_token == full.kv_elements_per_token


def test_a_gated_delta_layer_is_counted_by_hand() -> None:
    tensors = [t for t in hybrid().layer_tensors(0) if t.role in ("attention", "other")]
    q, k, v = 3, 3, 10
    projected = 8 * (q + k + v + v + 2 + 2) + v * 8  # queries, keys, values, gate, beta, alpha
    vectors = 4 * (q + k + v) + 2 + 2  # convolution taps, time bias, decay

    assert sum(t.elements for t in tensors) == projected + vectors


@pytest.mark.parametrize("values", [(6, 4, 8, 8), (0, 1, 8, 8), (4, 2, -1, 8), (4, 2, 8, 0)])
def test_an_attention_that_cannot_be_is_refused(values: tuple[int, int, int, int]) -> None:
    heads, kv_heads, head_dim, value_dim = values

    with pytest.raises(ModelError):
        Attention(
            kind="gqa", heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=value_dim
        )


def test_more_experts_per_token_than_experts_are_refused() -> None:
    with pytest.raises(ModelError, match="out of only 2"):
        Mlp(kind="moe", intermediate=4, experts=2, experts_per_token=3)


ALTERNATING: dict[str, object] = {
    "model_type": "llama4_text",
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 1,
    "intermediate_size_mlp": 24,
    "interleave_moe_layer_step": 2,
    "attention_chunk_size": 16,
}


def test_every_fourth_llama_4_layer_sees_beyond_its_chunk() -> None:
    model = tiny(**ALTERNATING)

    assert [layer.attention.chunk for layer in model.layers] == [16, 16, 16, 0]
    assert [layer.mlp.kind for layer in model.layers] == ["dense", "moe", "dense", "moe"]
    assert [layer.mlp.intermediate for layer in model.layers] == [24, 16, 24, 16]
    assert model.irregular == ("chunked attention",)


def test_llama_4_may_list_its_layers() -> None:
    model = tiny(**ALTERNATING | {"no_rope_layers": [1, 0, 0, 0], "moe_layers": [0]})

    assert [layer.attention.chunk for layer in model.layers] == [16, 0, 0, 0]
    assert [layer.mlp.kind for layer in model.layers] == ["moe", "dense", "dense", "dense"]


LATENT: dict[str, object] = {
    "model_type": "deepseek_v3",
    "num_key_value_heads": 4,
    "moe_intermediate_size": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "topk_method": "noaux_tc",
    "q_lora_rank": 6,
    "kv_lora_rank": 5,
    "qk_nope_head_dim": 3,
    "qk_rope_head_dim": 2,
    "v_head_dim": 3,
}


def test_a_latent_layer_is_counted_by_hand() -> None:
    tensors = tiny(**LATENT).layer_tensors(0)
    queries = 8 * 6 + 6 * (4 * 5)  # down to the latent, up to four heads of 3 + 2
    keys_and_values = 8 * (5 + 2) + 4 * (3 * 5) + 4 * (5 * 3)
    output = 4 * 3 * 8

    assert sum(t.elements for t in tensors if t.role == "attention") == (
        queries + keys_and_values + output
    )
    assert sum(t.elements for t in tensors if t.role == "norm") == 2 * 8 + 6 + 5


def test_the_sparse_indexer_is_counted_and_cached() -> None:
    sparse = tiny(
        **LATENT
        | {"model_type": "deepseek_v32", "index_n_heads": 3, "index_head_dim": 7, "index_topk": 9}
    )
    indexer = 6 * (3 * 7) + 8 * 7 + 8 * 3 + 2 * 7  # queries, key, weights, norm with bias

    assert sparse.parameters == tiny(**LATENT).parameters + 2 * indexer
    assert sparse.kv_elements_per_token == 2 * (5 + 2 + 7)
    assert sparse.irregular == ("sparse attention",)


def test_all_shared_experts_count_as_one() -> None:
    mlps = [layer.mlp for layer in tiny(**LATENT).layers]

    assert [mlp.shared_intermediate for mlp in mlps] == [0, 2 * 4]


def test_a_latent_model_with_contradicting_widths_is_refused() -> None:
    with pytest.raises(ModelError, match="qk_head_dim is 6; allowed: 5"):
        tiny(**LATENT | {"qk_head_dim": 6})
