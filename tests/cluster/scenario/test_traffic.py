from pathlib import Path

import pytest

from cluster.scenario.traffic import traffic
from cluster.scenario.workload import Workload
from workloads.requests import TraceError

S = 10**12


def test_a_workload_says_unit_and_columns_of_its_trace(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("when,in,out\n0,10,1\n3,20,2\n")
    workload = Workload.model_validate(
        {
            "trace": str(path),
            "time_unit": "s",
            "columns": {"time": "when", "prompt_tokens": "in", "output_tokens": "out"},
        }
    )

    assert traffic(workload, 0)[0].arrival_ps.tolist() == [0, 3 * S]
    assert hash(workload) == hash(workload.model_copy())


def test_a_file_of_lengths_serves_as_empirical_lengths_and_not_as_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n100,10\n200,10\n")
    drawn = {
        "requests": 20,
        "arrivals": {"constant": {"rate_per_s": 1}},
        "prompt_tokens": {"empirical": {"trace": str(path), "column": "prompt_tokens"}},
        "output_tokens": {"empirical": {"trace": str(path), "column": "output_tokens"}},
    }

    made = traffic(Workload.model_validate({"synthetic": drawn}), 0)[0]
    assert set(made.prompt_tokens.tolist()) == {100, 200}
    assert set(made.output_tokens.tolist()) == {10}
    with pytest.raises(TraceError, match="lengths and no arrivals"):
        traffic(Workload.model_validate({"trace": str(path)}), 0)


def test_the_same_requests_have_one_digest_however_they_were_read(tmp_path: Path) -> None:
    seconds, millis = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    row = '{{"timestamp": {}, "input_length": 9, "output_length": 1}}\n'
    seconds.write_text(row.format(0) + row.format(3))
    millis.write_text(row.format(0) + row.format(3000))
    said = traffic(Workload.model_validate({"trace": str(seconds), "time_unit": "s"}), 0)[0]

    assert said.digest == traffic(Workload.model_validate({"trace": str(millis)}), 0)[0].digest
