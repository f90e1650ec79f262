import json
from pathlib import Path

import pytest

from cluster.commands.app import main

Captured = pytest.CaptureFixture[str]


def test_list_names_every_bundled_model(capsys: Captured) -> None:
    assert main(["models", "list", "--json"]) == 0

    models = json.loads(capsys.readouterr().out)["models"]
    assert len(models) == 13
    assert {"name": "llama-3.1-8b", "parameters": 8_030_261_248}.items() <= models[5].items()


def test_show_gives_the_fixed_words(capsys: Captured) -> None:
    assert main(["models", "show", "llama-3.1-8b", "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"] == shown["active_parameters"] == 8_030_261_248
    assert shown["layers"] == 32
    assert shown["kv_bytes_per_token"] == 66_560
    assert sum(shown["parts"].values()) == shown["parameters"]


def test_the_format_of_the_cache_may_be_chosen(capsys: Captured) -> None:
    assert main(["models", "show", "llama-3.1-8b", "--kv", "fp16", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["kv_bytes_per_token"] == 2 * 65_536


def test_people_get_tables(capsys: Captured) -> None:
    assert main(["models", "show", "gpt-oss-20b"]) == 0

    text = capsys.readouterr().out
    assert "20,914,757,184" in text
    assert "stored as mxfp4" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["llama-3-8b"], "did you mean 'llama-3.1-8b'?"),
        (["qwen3-4b"], "neither a file nor a bundled name (bundled: "),  # another size is no slip
        (["llama-3.1-8b", "--kv", "mxint9"], "did you mean 'mxint8'?"),
    ],
)
def test_what_is_not_there_is_refused(words: list[str], message: str, capsys: Captured) -> None:
    assert main(["models", "show", *words]) == 2

    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_show_says_whether_and_how_a_model_can_be_simulated(
    capsys: Captured, tmp_path: Path
) -> None:
    config = {
        "model_type": "nemotron_h",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 64,
        "vocab_size": 10,
        "max_position_embeddings": 64,
        "hybrid_override_pattern": "M*",
        "mamba_num_heads": 2,
        "mamba_head_dim": 3,
        "ssm_state_size": 5,
        "conv_kernel": 4,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["models", "show", str(tmp_path), "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["simulation"]["possible"]
    assert shown["simulation"]["conditions"] == [
        "without hits of cached prefixes: with a state no other sequence can begin"
    ]
    assert shown["layer_kinds"] == {"Mamba-2": 1, "grouped attention": 1}
    # state of 2 x 3 x 5, and three inputs of 2 x 3 + 2 x 5 channels, in 16 bits
    assert shown["state_bytes_per_sequence"] == 2 * (30 + 3 * 16)
    assert shown["kv_bytes_by_context"]["4096"] == 4096 * 2 * 4 * 65  # mxint8: 65 bytes of 64

    assert main(["models", "show", "gpt-oss-20b"]) == 0
    text = capsys.readouterr().out
    assert "can be simulated: yes" in text
    assert "KV bytes of a sequence of 32,768 tokens" in text


def test_a_model_that_is_not_simulated_is_refused_by_name(capsys: Captured, tmp_path: Path) -> None:
    config = {
        "model_type": "deepseek_v4",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "head_dim": 64,
        "vocab_size": 64,
        "max_position_embeddings": 8192,
        "compress_ratios": [0, 128],
        "sliding_window": 64,
        "q_lora_rank": 64,
        "o_groups": 2,
        "o_lora_rank": 64,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert main(["check", "--set", f"model={tmp_path}"]) == 2
    assert "not modelled: compressed attention" in capsys.readouterr().err


def test_the_cache_of_a_sequence_counts_the_windows(capsys: Captured) -> None:
    def shown(model: str, *words: str) -> int:
        assert main(["models", "show", model, "--json", *words]) == 0
        return int(json.loads(capsys.readouterr().out)["kv_bytes_per_sequence"])

    # 1,040 bytes a token and layer; 12 full layers, 12 that see 128 tokens and hold three blocks.
    assert shown("gpt-oss-20b", "--context", "8192") == 1040 * 12 * (8192 + 3 * 64)
    assert shown("gpt-oss-20b", "--context", "100") == 1040 * 24 * 128
    assert shown("gpt-oss-20b") == 1040 * 12 * (131_072 + 3 * 64)
    assert shown("llama-3.1-8b", "--context", "1000") == 66_560 * 1024
