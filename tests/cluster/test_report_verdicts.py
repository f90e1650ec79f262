"""The verdict of a report on runs whose limit is known, because it was put there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import Run, load, simulate
from cluster.commands.app import main
from results import open_run
from results.report import findings
from results.report.assumptions import warnings

PIPELINE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": {"servers_per_rack": 2, "cards_per_server": 4},
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 150,
            "arrivals": {"poisson": {"rate_per_s": 40.0}},
            "prompt_tokens": {"fixed": 800},
            "output_tokens": {"fixed": 20},
        }
    },
}
"""A model over two servers: every step's activations go through NICs."""


def limits(run: Run, folder: Path) -> list[str]:
    return [one.what for one in findings(open_run(run.save(folder)))]


def test_a_nic_cut_to_a_tenth_is_named(tmp_path: Path) -> None:
    run = simulate(load(PIPELINE, links=[{"match": "s0.nic0>leaf", "bandwidth_scale": 0.1}]))
    found = findings(open_run(run.save(tmp_path)))

    assert found[0].what == "link"
    assert found[0].headline == "A cable: s0.nic0>leaf is the bottleneck of its traffic."
    assert "10 % of the bandwidth" in found[0].evidence


def test_too_little_sram_is_memory(tmp_path: Path, run_small: Callable[..., Run]) -> None:
    run = run_small(
        hardware_set={"chiplet.usable_sram_fraction": 0.54},
        workload={"rate_scale": 5.0},
    )

    assert limits(run, tmp_path)[0] == "kv"


@pytest.mark.parametrize("seats", [4, 60])
def test_more_requests_than_can_be_answered_are_a_queue(
    tmp_path: Path, run_small: Callable[..., Run], seats: int
) -> None:
    run = run_small(scheduler={"max_num_seqs": seats}, workload={"rate_scale": 20.0})

    first = findings(open_run(run.save(tmp_path)))[0]
    assert first.what == "queueing"
    assert "% waiting behind others' " in first.evidence.partition("p99 TTFT is ")[2]


def test_a_queue_at_max_num_seqs_is_not_a_lack_of_memory(
    tmp_path: Path,
) -> None:
    crowd = {"requests": 500, "preset": "azure-conv-2023"}
    run = simulate(load({**PIPELINE, "workload": {"synthetic": crowd, "rate_scale": 40.0}}))
    first = findings(open_run(run.save(tmp_path)))[0]

    # 60 seats hold about as many tokens as there are KV blocks: with twice the SRAM it waits alike.
    assert first.what == "queueing"
    assert "% of the KV blocks and 9" in first.evidence


def test_a_calm_run_is_limited_by_what_its_time_goes_into(
    tmp_path: Path, run_small: Callable[..., Run]
) -> None:
    run = run_small()
    most = max(run.summary["bound_share"].items(), key=lambda one: one[1])[0]

    assert limits(run, tmp_path) == [most]


def test_values_outside_the_calibrated_range_are_reported(
    tmp_path: Path, run_small: Callable[..., Run]
) -> None:
    run = run_small(
        plan={"tensor_parallel_size": 8, "pipeline_parallel_size": 1},
        hardware_set={"card.dispatch_s": 1e-6},
    )
    said = "\n".join(warnings(open_run(run.save(tmp_path))))

    assert "tensor groups of 8 cards" in said
    assert "set by hand" in said
    assert "assumed figures stand behind network, " in said


def test_the_command_writes_one_small_file(
    tmp_path: Path, run_small: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_small().save(tmp_path)

    assert main(["report", str(folder), "-o", str(tmp_path / "out.html")]) == 0
    assert "Most of the busy time" in capsys.readouterr().out
    assert 500_000 < (tmp_path / "out.html").stat().st_size < 5_000_000
