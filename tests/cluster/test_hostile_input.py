"""Files made to break a reader: one clear error, before memory or time is spent."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.commands.app import main
from corsair_common import limits

DIGITS = "9" * 5000
FREE_BYTES = 10**9


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(limits, "free_bytes", lambda: FREE_BYTES)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Exit code and error of a command that must fail without a traceback."""
    code = main(list(argv))
    err = capsys.readouterr().err

    assert err.count("corsair-sim: error: ") == 1
    assert "internal error" not in err
    assert "Traceback" not in err
    return code, err


def npy(header: str) -> bytes:
    """A .npy file of version 1 with this header and no numbers."""
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


@pytest.mark.parametrize(
    ("name", "content", "argv", "said"),
    [
        (
            "unit.yaml",
            b"name: a\nbase: corsair\nfigures:\n  card.clock_hz: {value: 1, unit: [GHz]}\n",
            ["hardware", "show", "unit.yaml"],
            "unit.yaml:4: card.clock_hz: unknown unit",
        ),
        (
            "long.json",
            b'{"hidden_size": ' + DIGITS.encode() + b"}",
            ["models", "show", "long.json"],
            "long.json: an integer of thousands of digits",
        ),
        (
            "long.jsonl",
            b'{"timestamp": 1, "input_length": ' + DIGITS.encode() + b', "output_length": 1}\n',
            ["trace", "describe", "long.jsonl"],
            "long.jsonl:1: not a JSON object",
        ),
        (
            "torn.npy",
            npy("{'descr': '<f8', 'fortran_order': False, 'shape': (64,"),
            ["formats", "measure", "torn.npy"],
            "torn.npy: cannot be read",
        ),
        (
            "words.parquet",
            b"PAR1\xff\xfePAR1",
            ["trace", "describe", "words.parquet"],
            "words.parquet: not a readable Parquet file",
        ),
    ],
)
def test_an_odd_file_is_named(
    name: str, content: bytes, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_bytes(content)

    code, err = refused(capsys, *argv)

    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["check", "/dev/zero"], "/dev/zero: cannot be read (larger than 16.8 MB)"),
        (["hardware", "show", "/dev/zero"], "larger than 16.8 MB"),
        (["trace", "describe", "/dev/zero"], "a device or pipe; a file is needed"),
    ],
)
def test_a_device_that_never_ends_is_refused(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = refused(capsys, *argv)

    assert code == 2
    assert said in err


def test_a_small_file_that_unpacks_beyond_memory_is_refused_with_both_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ones = pa.array(np.ones(1_000_000, np.int64))
    table = pa.table({"arrival_ps": ones, "prompt_tokens": ones, "output_tokens": ones})
    with pq.ParquetWriter("small.parquet", table.schema) as writer:
        for _ in range(10):
            writer.write_table(table)
    assert Path("small.parquet").stat().st_size < 200_000

    code, err = refused(capsys, "trace", "describe", "small.parquet")

    assert code == 3
    assert "small.parquet would take about 1.5 GB of memory, 1 GB is free" in err  # 10M x 150 B


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (
            ["check", "--set", "workload.synthetic.requests=100000000"],
            3,
            "a run of 100,000,000 requests would take about 40 GB of memory, 1 GB is free",
        ),
        (
            ["trace", "generate", "--preset", "azure-conv-2023", "--requests", "100000000",
             "--out", "x.parquet"],
            3,
            "drawing 100,000,000 requests would take about 11.4 GB of memory",
        ),
        (["plan", "--tp", "1-99999999"], 2, "'1-99999999' has 99,999,999 values"),
        (
            ["plan", "--max-num-seqs", "1-1000", "--max-num-batched-tokens", "1-1000"],
            2,
            "the options combine to 1,000,000 candidates",
        ),
        (
            ["topology", "show", "--racks", "1000"],
            2,
            "1,000 x 8 x 8 (racks, servers, cards) are 64,000 cards; at most 16,384",
        ),
    ],
)  # fmt: skip
def test_what_would_never_end_is_refused_with_the_figure(
    argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, err = refused(capsys, *argv)

    assert found == code
    assert said in err


def test_an_altered_manifest_or_table_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "-q", "--out", "runs", "--set", "workload.synthetic.requests=10"]) == 0
    (run,) = Path("runs").iterdir()
    table = run / "requests.parquet"
    content = pq.read_table(table)
    manifest = json.loads((run / "manifest.json").read_text())

    other: dict[str, Any] = {**manifest, "scenario": {"name": [1]}}
    (run / "manifest.json").write_text(json.dumps(other))
    code, err = refused(capsys, "compare", str(run), str(run))
    assert (code, "manifest.json: damaged or altered" in err) == (2, True)

    (run / "manifest.json").write_text(json.dumps(manifest))
    buffer = io.BytesIO()
    pq.write_table(content.drop_columns(["ttft_s"]), buffer)
    size = table.stat().st_size
    table.write_bytes(buffer.getvalue()[:size].ljust(size, b"\0"))
    code, err = refused(capsys, "export", str(run), "--out", "x.json")
    assert (code, "requests.parquet: cannot read the table: damaged" in err) == (2, True)


def test_control_characters_of_names_are_shown_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("a.yaml").write_text(
        'name: "\\e[31mred\\u202e"\nmodel: llama-3.1-8b\nplan: {tensor_parallel_size: 8}\n'
        "workload: {synthetic: {requests: 10, preset: azure-conv-2023}}\n"
    )

    assert main(["check", "a.yaml"]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    assert "\\x1b[31mred\\u202e" in out + err
