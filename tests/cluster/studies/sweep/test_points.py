from pathlib import Path

import pytest

from cluster import sweep
from cluster.scenario.resolve import Openers, Resolved, ResolvedReplay, Traffic, resolve
from cluster.scenario.schema import Scenario
from cluster.studies.sweep import points as points_module

DEFINITION = {
    "base": {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        "workload": {"synthetic": {"requests": 12, "preset": "azure-conv-2023"}},
    },
    "axes": {"workload.rate_scale": [1.0, 4.0], "scheduler.max_num_seqs": [4, 8]},
}


@pytest.mark.parametrize(("kept", "openings"), [(4096, 4), (1, 7), (0, 8)])
def test_what_planning_has_opened_is_run_from_as_far_as_there_is_room(
    kept: int, openings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(
        scenario: Scenario, openers: Openers, *, wanted: Traffic = "requests"
    ) -> Resolved | ResolvedReplay:
        found = resolve(scenario, openers, wanted=wanted)
        opened.append(found.run_id)
        return found

    monkeypatch.setattr(points_module, "MOST_OPENED", kept)
    monkeypatch.setattr(points_module, "resolve", counted)
    done = sweep(DEFINITION, out=tmp_path).points.to_pylist()

    assert len(opened) == openings
    assert opened[:4] == [row["run_id"] for row in done]
    assert [row["completed"] for row in done] == [12] * 4
