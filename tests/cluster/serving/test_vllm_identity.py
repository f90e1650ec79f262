"""Both engines do with every recorded problem what vLLM's own scheduler did with it.

``benchmarks/vllm_identity.py`` reads, compares and judges; here it is run and shown to find faults.
"""

import gzip
import json
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / ".." / "shared" / "data" / "vllm"

PROBLEM: dict[str, Any] = {
    "case": "alone-0",
    "stages": 1,
    "max_num_seqs": 2,
    "max_num_batched_tokens": 4,
    "block_size": 2,
    "blocks": 10,
    "max_model_len": 100,
    "concurrency": 0,
    "prefix_caching": False,
    "step_ps": [0, 11, 12, 13, 14],
    "return_ps": 3,
    "arrival_ps": [100],
    "prompt_tokens": [5],
    "output_tokens": [2],
    "block_keys": [],
    # Chunks of 4 and 1 tokens, then a decode, each 3 ps after the end of the step before.
    "expected": {
        "arrival_ps": [100],
        "first_scheduled_ps": [100],
        "first_token_ps": [128],
        "finish_ps": [142],
        "preemptions": [0],
        "cached_tokens": [0],
        "status": [0],
    },
    "steps": [[100, 114, 4, 4], [117, 128, 1, 1], [131, 142, 1, 0]],
}
# Two stages: 100 - 114 - 128; the second chunk follows, 114 - 125, 128 - 139; the decode when the
# first token is back, 142 - 153 - 164.
PIPELINE: dict[str, Any] = PROBLEM | {
    "stages": 2,
    "expected": PROBLEM["expected"] | {"first_token_ps": [139], "finish_ps": [164]},
    "steps": [],
}


@pytest.fixture(scope="module")
def identity() -> Any:
    spec = spec_from_file_location("vllm_identity", ROOT / "benchmarks" / "vllm_identity.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def lines(*problems: Any) -> str:
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
        return str(path)

    return lines


def changed(problem: dict[str, Any], **expected: list[int]) -> dict[str, Any]:
    """The same problem, of which vLLM is said to have made something else."""
    return problem | {"expected": problem["expected"] | expected}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="what vLLM's scheduler did is not here")
@pytest.mark.parametrize(
    ("name", "problems"),
    [("one_stage", 440), ("threshold", 50), ("async", 48), ("pipelines", 150)],
)
def test_both_engines_do_what_vllm_did_with_every_recorded_problem(
    identity: Any, capsys: pytest.CaptureFixture[str], name: str, problems: int
) -> None:
    path = DATA / f"{name}.jsonl.gz"

    code = identity.main([str(path)])

    printed = capsys.readouterr()
    assert code == 0, printed.out + printed.err
    counts = [line.split() for line in printed.out.splitlines() if line.endswith(" equal")]
    assert sum(int(words[-2]) for words in counts) == problems
    if name != "pipelines":
        assert sum(int(words[-4]) for words in counts) == problems
    else:
        assert printed.out.count("of vLLM's") == 3 * 4


@pytest.mark.parametrize("problem", [PROBLEM, PIPELINE], ids=["one stage", "two stages"])
def test_what_is_as_worked_out_by_hand_passes(
    identity: Any, write: Callable[..., str], problem: dict[str, Any]
) -> None:
    assert identity.main([write(problem, problem)]) == 0


def test_a_packed_file_reads_as_a_plain_one(identity: Any, tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(PROBLEM).encode()))

    assert identity.main([str(path)]) == 0


@pytest.mark.parametrize(
    ("problem", "fault"),
    [
        (changed(PROBLEM, first_token_ps=[129]), "alone-0 differs from vLLM in first_token_ps"),
        (PROBLEM | {"steps": PROBLEM["steps"][:2]}, "alone-0 differs from vLLM in steps"),
        (changed(PIPELINE, status=[2]), "alone-0 differs from vLLM in status"),
        # 39 ps to the first token: 1.03 of 38, above vLLM's; 0.78 of 50, below 0.8 of it
        (changed(PIPELINE, first_token_ps=[138]), "sum of TTFT       1.026"),
        (changed(PIPELINE, first_token_ps=[150]), "sum of TTFT       0.780"),
        # 64 ps in all: 1.28 of 50
        (changed(PIPELINE, finish_ps=[150]), "p99 of end to end 1.280"),
    ],
)
def test_a_difference_ends_with_1_and_is_named(
    identity: Any,
    write: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    problem: dict[str, Any],
    fault: str,
) -> None:
    assert identity.main([write(problem)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if fault in line]
    assert len(lines) == 1
    assert "FAULT" in lines[0]


def test_engines_that_differ_from_each_other_end_with_1(
    identity: Any,
    write: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_steps(*problem: Any, **_: Any) -> Any:
        return identity.serve(*problem)

    monkeypatch.setattr(identity, "serve_reference", without_steps)

    assert identity.main([write(PROBLEM)]) == 1
    assert "alone-0: kernel and reference differ in steps, phases" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no problem"),
        ("{\n", "line 1: is not JSON"),
        ("[]", "line 1: a problem must be an object, got list"),
        (json.dumps(PROBLEM) + '\n{"case": "b-1"}', "line 2: the field 'max_num_seqs' is missing"),
        (json.dumps(PROBLEM | {"return_ps": "soon"}), "line 1: "),
        (json.dumps(changed(PROBLEM, status=[0, 0])), "line 1: expected.status must be 1 integers"),
        (json.dumps(PROBLEM | {"output_tokens": [0]}), "problem alone-0: output_tokens[0] is 0"),
    ],
)
def test_a_file_of_another_form_ends_with_2_and_says_where(
    identity: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str,
    message: str,
) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(text)

    code = identity.main([str(path)])

    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith(f"vllm_identity: {path}")
    assert message in said
    assert said.count("\n") == 1


def test_a_missing_or_broken_file_ends_with_2(
    identity: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(json.dumps(PROBLEM).encode())[:-20])

    assert identity.main([str(tmp_path / "nowhere.jsonl")]) == 2
    assert "nowhere.jsonl: there is no such file" in capsys.readouterr().err
    assert identity.main([str(broken)]) == 2
    assert "cannot be read" in capsys.readouterr().err
