import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.model import Model, ModelError, load_model, parse_config

DENSE: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 32,
}
MIXTURE = DENSE | {
    "model_type": "gpt_oss",
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 8,
}
WIDTHS = [key for key, value in DENSE.items() if isinstance(value, int)]


@pytest.mark.parametrize("key", WIDTHS)
@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf"), "64", True, [], 10**12])
def test_a_width_that_is_no_whole_positive_number_is_refused_by_name(
    key: str, value: object
) -> None:
    with pytest.raises(ModelError, match=f"tiny: {key} is "):
        parse_config(DENSE | {key: value}, "tiny")


@pytest.mark.parametrize("key", [key for key in WIDTHS if key != "num_key_value_heads"])
def test_a_missing_width_is_named(key: str) -> None:
    rest = {name: value for name, value in DENSE.items() if name != key}

    with pytest.raises(ModelError, match=f"{key} is missing"):
        parse_config(rest, "tiny")


@pytest.mark.parametrize("model_type", ["llamma", "llava", "mambaa", None, ["llama"]])
def test_no_model_is_guessed_from_how_its_type_is_spelt(model_type: object) -> None:
    rest = {key: value for key, value in DENSE.items() if key != "num_attention_heads"}

    with pytest.raises(ModelError) as caught:
        parse_config(rest | {"model_type": model_type}, "tiny")
    assert "nearest" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({}, ""),
        (8, "an unknown format"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": 4, "quant_algo": None}, "an unknown format"),
        ({"quant_algo": "NVFP4", "producer": {"name": "modelopt"}}, "modelopt NVFP4"),
        (
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}},
            "modelopt FP8",
        ),
    ],
)
def test_how_weights_are_stored_never_refuses_a_shape(stored: object, said: str) -> None:
    model = parse_config(DENSE | {"quantization_config": stored}, "tiny")

    assert model.quantization == said
    assert model.parameters == parse_config(DENSE, "tiny").parameters


@pytest.mark.parametrize("text", ['{"quantization": {"quant_algo": "FP8"}}', "torn {"])
def test_a_file_beside_the_config_says_how_weights_are_stored(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DENSE))
    (tmp_path / "hf_quant_config.json").write_text(text)

    assert load_model(tmp_path).quantization in ("FP8", "an unknown format")


def test_infinity_is_a_number_of_json_but_no_width(tmp_path: Path) -> None:
    config = json.dumps(DENSE)[:-1]
    (tmp_path / "config.json").write_text(config + ', "time_step_limit": [0.0, Infinity]}')
    assert load_model(tmp_path).layers == parse_config(DENSE, "tiny").layers

    (tmp_path / "config.json").write_text(config + ', "head_dim": Infinity}')
    with pytest.raises(ModelError, match="head_dim is inf"):
        load_model(tmp_path)


def test_a_misspelt_field_is_pointed_at() -> None:
    rest = {name: value for name, value in DENSE.items() if name != "vocab_size"}

    with pytest.raises(ModelError, match="nearest is 'vocabsize'"):
        parse_config(rest | {"vocabsize": 100}, "tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM, which generates no text"),
        ({"is_encoder_decoder": True}, "only decoders of text"),
        ({"model_type": "rwkv", "num_attention_heads": None}, "'rwkv' describes no layers"),
        ({"num_experts": 8}, "num_experts_per_tok is missing"),
        ({"layer_types": ["full_attention", "conv"]}, r"layer_types\[1\] is 'conv'"),
        ({"attn_type_list": [1, 0]}, "lightning attention is not understood"),
        ({"use_sliding_window": True}, "which slide"),
        ({"num_key_value_heads": 3}, "4 is not divisible by num_key_value_heads 3"),
        ({"hidden_size": 66}, "66 is not divisible by num_attention_heads 4"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; allowed: one of silu"),
        ({"num_hidden_layers": 10**6}, "at most 4096"),
        ({"tie_word_embeddings": "no"}, "allowed: true or false"),
        ({"moe_depth": 8}, "moe_depth = 8 is not understood"),
        ({"sliding_window": 4096}, "sliding_window = 4096 is not understood"),
    ],
)
def test_a_field_that_is_not_understood_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        parse_config(DENSE | changes, "tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": ["full_attention", "sliding_atention"]}, "nearest is 'sliding_attention'"),
        ({"layer_types": ["full_attention", "mamba"]}, r"layer_types\[1\] is 'mamba'"),
        ({"layer_types": ["full_attention"]}, "a list of 2"),
        ({"num_experts_per_tok": 5}, "at most the 4 experts"),
        ({"sliding_window": None}, "sliding_window is missing"),
    ],
)
def test_a_mixture_or_window_that_cannot_be_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        parse_config(MIXTURE | changes, "tiny")


@pytest.mark.parametrize(
    "harmless",
    [
        {"rope_scaling": {"rope_type": "an unheard-of one"}},
        {"pretraining_tp": 2},
        {"someone_elses_remark": "hello"},
        {"layer_norm_eps": 1e-5, "attention_dropout": 0.1},
        {"_attn_implementation_autoset": True, "num_beams": 1, "chunk_size_feed_forward": 0},
        {"decoder_start_token_id": 7, "id2label": {"0": "LABEL_0"}},
        {"moe_num_experts": None},
        {"use_sliding_window": False},
    ],
)
def test_a_field_that_says_nothing_of_the_shape_is_let_be(harmless: dict[str, object]) -> None:
    assert parse_config(DENSE | harmless, "tiny") == parse_config(DENSE, "tiny")


@given(st.dictionaries(st.sampled_from([*DENSE, "head_dim"]), st.none() | st.integers(-2, 300)))
def test_any_config_gives_a_whole_model_or_one_clear_refusal(changes: dict[str, object]) -> None:
    try:
        found: Model | None = parse_config(DENSE | changes, "tiny")
    except ModelError:
        found = None

    assert found is None or found.parameters == sum(t.elements for t in found.tensors())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "llama",\n "hidden_size": 64', "line 2: not valid JSON"),
        ("", "line 1: not valid JSON"),
        ("[]", "a config is a JSON object, found list"),
        ('{"hidden_size": NaN}', "NaN is no number"),
        ('{"hidden_size": 1, "hidden_size": 2}', "hidden_size is a duplicate key"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ModelError, match="not UTF-8"):
        load_model(tmp_path / "config.json")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must hold its config\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["a" * 5000, "x\0y", "no/such/folder"])
def test_a_name_that_can_be_no_file_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"^model '"):
        load_model(name)


def test_a_name_that_is_nearly_right_is_pointed_at() -> None:
    with pytest.raises(ModelError, match=r"did you mean 'llama-3\.1-8b'"):
        load_model("llama-3-8b")


def test_a_config_is_named_after_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(DENSE))

    assert load_model(folder).name == load_model(folder / "config.json").name == "my-model"
    assert load_model(folder) == parse_config(DENSE, "my-model")
