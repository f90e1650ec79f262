import os
from pathlib import Path
from typing import Any

import pytest

from cluster import load
from cluster.scenario.resolve import resolve
from cluster.scenario.run_content import content_text
from cluster.scenario.schema import Scenario
from cluster.studies.sweep import input_cache as library_module
from cluster.studies.sweep.input_cache import Library

HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def scenario_with(workload: dict[str, Any], max_num_seqs: int = 60) -> Scenario:
    return load(
        {
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "scheduler": {"max_num_seqs": max_num_seqs},
            "workload": workload,
        }
    )


def test_what_scenarios_share_is_opened_and_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []

    def counted(opened: Any) -> Any:
        named.append(type(opened).__name__)
        return content_text(opened)

    monkeypatch.setattr(library_module, "content_text", counted)
    library = Library()
    drawn = {"synthetic": {"requests": 5, "preset": "azure-conv-2023"}}
    scenarios = [scenario_with(drawn, max_num_seqs) for max_num_seqs in (4, 8, 16)]
    found = [resolve(scenario, library.openers) for scenario in scenarios]

    assert named == ["Hardware", "Model", "Requests"]
    assert len({id(each.requests) for each in found}) == 1
    assert [each.run_id for each in found] == [resolve(each).run_id for each in scenarios]
    assert len({each.run_id for each in found}) == 3
    assert len({each.machine_id for each in found}) == 3


def test_a_trace_that_has_changed_is_read_again(tmp_path: Path) -> None:
    trace, library = tmp_path / "a.csv", Library()
    trace.write_text(f"{HEADER}0.0,10,4\n")
    before = resolve(scenario_with({"trace": str(trace)}), library.openers)
    trace.write_text(f"{HEADER}0.0,10,5\n")
    os.utime(trace, ns=(1, 1))  # the size is the same, and clocks may be coarse
    after = resolve(scenario_with({"trace": str(trace)}), library.openers)

    assert before.requests.output_tokens.tolist() == [4]
    assert after.requests.output_tokens.tolist() == [5]
    assert before.run_id != after.run_id
    assert before.inputs != after.inputs
