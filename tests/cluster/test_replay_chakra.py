"""The published Chakra traces, replayed on plain networks and on racks."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import ReplayRun, replay_trace
from workloads.chakra.read import read_chakra
from workloads.chakra.write import write_chakra

CHAKRA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "chakra"
MICRO = CHAKRA / "astra-sim" / "microbenchmarks"
MIB = 1 << 20
LATENCY_PS = 500_000
BYTE_PS = 1e12 / (50 * (1 << 30))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not CHAKRA.is_dir(), reason="the published Chakra files are not here"),
]


def replayed(folder: Path, tmp_path: Path, shape: str = "Ring", **more: Any) -> ReplayRun:
    network = tmp_path / f"{shape}.yml"
    network.write_text(
        f"topology: [{shape}]\nnpus_count: [8]\nbandwidth: [50.0]\nlatency: [500.0]\n", "utf-8"
    )
    return replay_trace({"network": str(network), "workload": {"chakra": str(folder)}, **more})


@pytest.mark.parametrize(
    ("collective", "rounds", "share"),
    [("all_reduce", 14, 1 / 8), ("reduce_scatter", 7, 1 / 8), ("all_gather", 7, 1)],
)
def test_a_megabyte_on_a_ring_takes_its_alpha_beta_time(
    collective: str, rounds: int, share: float, tmp_path: Path
) -> None:
    run = replayed(MICRO / collective / "8npus_1MB", tmp_path)
    alone_ps = rounds * (LATENCY_PS + share * MIB * BYTE_PS)

    assert run.outcome.replayed.makespan_ps == pytest.approx(alone_ps, abs=rounds)


@pytest.mark.parametrize("shape", ["Ring", "Switch", "FullyConnected"])
@pytest.mark.parametrize("collective", ["all_reduce", "reduce_scatter", "all_gather", "all_to_all"])
def test_every_microbenchmark_runs_on_every_shape(
    collective: str, shape: str, tmp_path: Path
) -> None:
    run = replayed(MICRO / collective / "8npus_1MB", tmp_path, shape)

    assert run.summary["operations"] == 8
    assert run.summary["critical_share"]["network"] > 0.5


def test_the_custom_ring_takes_its_messages_and_its_recorded_work(tmp_path: Path) -> None:
    run = replayed(CHAKRA / "astra-sim" / "custom_ring_allreduce_8npus_1MB", tmp_path)
    messages_ps = 14 * (LATENCY_PS + MIB / 8 * BYTE_PS)
    work_ps = run.outcome.replayed.makespan_ps - messages_ps

    assert run.summary["operations"] == 280
    assert work_ps == pytest.approx(7 * 7_000_000, abs=14)
    assert run.outcome.replayed.load_bytes.sum() == 8 * 14 * MIB // 8


def test_a_folder_that_we_write_gives_the_same_run(tmp_path: Path) -> None:
    folder = CHAKRA / "astra-sim" / "custom_ring_allreduce_8npus_1MB"
    written = write_chakra(read_chakra(folder), tmp_path / "ours")
    theirs, ours = replayed(folder, tmp_path), replayed(written, tmp_path)

    for name in ("start_ps", "end_ps", "load_bytes"):
        one, other = (getattr(run.outcome.replayed, name) for run in (theirs, ours))
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_the_microbenchmarks_run_on_a_server_of_cards(tmp_path: Path) -> None:
    folder = MICRO / "all_reduce" / "8npus_1MB"
    run = replay_trace({"workload": {"chakra": str(folder)}}, out=tmp_path)

    assert run.machine.racks is not None
    assert run.summary["ranks"] == 8
    assert run.summary["critical_share"]["dispatch"] > 0


def test_the_pytorch_trace_takes_at_least_its_busiest_stream(tmp_path: Path) -> None:
    with tarfile.open(CHAKRA / "chakra-tests" / "feeder_tests_trace.tar.gz") as archive:
        archive.extract("tests/data/chakra.0.et", tmp_path, filter="data")
    folder = tmp_path / "tests" / "data"
    runs = [
        replayed(tmp_path / "tests" / "data", tmp_path, workload=workload)
        for workload in ({"chakra": str(folder)}, {"chakra": {"folder": str(folder), "copies": 8}})
    ]
    own = runs[0].machine.program.operations
    busiest = max(int(own.duration_ps[own.stream == stream].sum()) for stream in set(own.stream))

    assert runs[0].summary["operations"] == 3_664
    assert runs[0].outcome.replayed.makespan_ps >= busiest
    assert runs[0].summary["critical_share"]["recorded"] == pytest.approx(1.0)
    assert any("control dependencies are left out" in flag for flag in runs[0].summary["flags"])
    assert runs[1].summary["operations"] == 8 * 3_664
    assert runs[1].run_id != runs[0].run_id
