import json

import pytest

from cluster.commands.app import main

Captured = pytest.CaptureFixture[str]


def test_list_names_every_bundled_model(capsys: Captured) -> None:
    assert main(["models", "list", "--json"]) == 0

    models = json.loads(capsys.readouterr().out)["models"]
    assert len(models) == 12
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
    ("words", "told"),
    [
        (["llama-3-8b"], "did you mean 'llama-3.1-8b'?"),
        (["llama-3.1-8b", "--kv", "mxint9"], "did you mean 'mxint8'?"),
    ],
)
def test_what_is_not_there_is_refused(words: list[str], told: str, capsys: Captured) -> None:
    assert main(["models", "show", *words]) == 2

    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


def test_the_cache_of_a_sequence_counts_what_lies_in_the_windows(capsys: Captured) -> None:
    def shown(model: str, *words: str) -> int:
        assert main(["models", "show", model, "--json", *words]) == 0
        return int(json.loads(capsys.readouterr().out)["kv_bytes_per_sequence"])

    # 1,040 bytes a token and layer; 12 full layers, 12 that see 128 tokens and hold three blocks.
    assert shown("gpt-oss-20b", "--context", "8192") == 1040 * 12 * (8192 + 3 * 64)
    assert shown("gpt-oss-20b", "--context", "100") == 1040 * 24 * 128
    assert shown("gpt-oss-20b") == 1040 * 12 * (131_072 + 3 * 64)
    assert shown("llama-3.1-8b", "--context", "1000") == 66_560 * 1024
