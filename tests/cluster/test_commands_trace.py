import json
from pathlib import Path

import pytest

from cluster.commands.app import main

Captured = pytest.CaptureFixture[str]
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "burst.csv"
    path.write_text(BURSTGPT + "9,GPT-4,8,2,10,x\n5,GPT-4,4,1,5,x\n7,GPT-4,4,0,4,x\n")
    return path


def answer(capsys: Captured, *words: object) -> dict[str, object]:
    assert main(["trace", *map(str, words), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_describe_says_format_rate_and_lengths(capsys: Captured, trace: Path) -> None:
    found = answer(capsys, "describe", trace)

    assert found["format"] == "burstgpt"
    assert (found["requests"], found["skipped"], found["reordered"]) == (2, 1, 1)
    assert found["mean_rate_per_s"] == 0.25
    assert found["mean_prompt_tokens"] == 6


def test_describe_lays_out_a_table_for_people(capsys: Captured, trace: Path) -> None:
    assert main(["trace", "describe", str(trace)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["mean", "rate", "per", "s", "0.25"] for line in lines)
    assert lines[-2].split() == ["prompt", "6", "6", "7.6", "7.96", "8"]


def test_convert_writes_what_describe_then_reads(capsys: Captured, trace: Path) -> None:
    out = trace.with_suffix(".parquet")
    written = answer(capsys, "convert", trace, "--out", out, "--rate-scale", 2)
    found = answer(capsys, "describe", out, "--format", "parquet")

    assert written["requests"] == found["requests"] == 2
    assert written["digest"] == found["digest"]
    assert found["mean_rate_per_s"] == 0.5


def test_convert_says_what_it_left_out_and_sorted(capsys: Captured, trace: Path) -> None:
    assert main(["trace", "convert", str(trace), "--out", str(trace.with_suffix(".pq"))]) == 0

    printed = capsys.readouterr()
    assert "left out 1 failed" in printed.err
    assert "sorted 1 " in printed.err
    assert printed.out.startswith("wrote 2 requests")


def test_generate_draws_a_preset_the_same_way_twice(capsys: Captured, tmp_path: Path) -> None:
    words = ("--preset", "azure-conv-2023", "--requests", 40, "--seed", 3)
    first = answer(capsys, "generate", "--out", tmp_path / "a.parquet", *words)
    second = answer(capsys, "generate", "--out", tmp_path / "b.parquet", *words)

    assert first["requests"] == 40
    assert first["digest"] == second["digest"]


def test_generate_draws_rates_and_lengths_of_ones_own(capsys: Captured, tmp_path: Path) -> None:
    out = tmp_path / "own.parquet"
    answer(
        capsys, "generate", "--out", out, "--rate", 50, "--burstiness", 100, "--requests", 2000,
        "--prompt-tokens", "100-300", "--output-tokens", "mean=20,p50=10,maximum=64",
    )  # fmt: skip
    found = answer(capsys, "describe", out)

    assert found["mean_rate_per_s"] == pytest.approx(50, rel=0.02)
    assert found["mean_prompt_tokens"] == pytest.approx(200, rel=0.05)
    assert found["max_output_tokens"] == 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "azure"], "unknown preset 'azure'"),
        (["--rate", "5"], "--prompt-tokens, --output-tokens or --preset is required"),
        (["--preset", "azure-conv-2023", "--rate", "5"], "--preset and --rate exclude"),
        (
            ["--rate", "5", "--prompt-tokens", "ten", "--output-tokens", "5"],
            "--prompt-tokens: found 'ten'; allowed are 256 (fixed)",
        ),
        (
            ["--rate", "5", "--prompt-tokens", "9-3", "--output-tokens", "5"],
            "--prompt-tokens '9-3': high must be",
        ),
        (
            ["--rate", "nan", "--prompt-tokens", "9", "--output-tokens", "5"],
            "rate_per_s must be positive and finite, got nan",
        ),
        (["--preset", "azure-conv-2023", "--requests", "0"], "requests must be a whole number"),
    ],
)
def test_a_wrong_wish_ends_with_2_and_writes_nothing(
    capsys: Captured, tmp_path: Path, words: list[str], message: str
) -> None:
    assert main(["trace", "generate", "--out", str(tmp_path / "x.parquet"), *words]) == 2

    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_ends_with_2(capsys: Captured, trace: Path) -> None:
    out = trace.parent / "nowhere" / "x.parquet"

    assert main(["trace", "convert", str(trace), "--out", str(out), "--json"]) == 2
    assert "No such file" in json.loads(capsys.readouterr().out)["error"]
