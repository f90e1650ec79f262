"""The energy of a replay, beside that of the serving tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import load, replay_trace
from cluster.perf_model.devices.dimc import PARTS
from cluster.perf_model.energy.coefficients import costing
from cluster.scenario.resolve import resolve
from cluster.serving.run import lay_out, priced
from results import open_run

DECODE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": {"servers_per_rack": 2},
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "replicas": 1},
    "workload": {"program": {"phase": "decode", "batch": 8, "context": 640, "steps": 2}},
}


def test_a_replay_tells_its_energy_by_part_and_by_card(tmp_path: Path) -> None:
    run = replay_trace(DECODE, out=tmp_path)
    summary, end_s = run.summary, run.summary["makespan_s"]
    cards = open_run(run.run_dir or tmp_path).pandas("card_times")
    columns = [name for name in cards if name.startswith("energy_")]

    assert sum(summary["energy_share"].values()) == pytest.approx(1, rel=1e-12)
    # Sixteen cards, of which eight have nothing to do.
    idle_j = 8 * 64.3 * end_s
    assert cards[columns].to_numpy().sum() + idle_j == pytest.approx(summary["energy_j"])
    assert summary["mean_power_w"] == pytest.approx(summary["energy_j"] / end_s)
    assert summary["joules_per_output_token"] == pytest.approx(summary["energy_j"] / 16)
    assert summary["facility_power_w"]["hosts"] == 2 * 1500


def test_both_engines_count_nearly_the_same_work() -> None:
    resolved = resolve(load(DECODE), wanted="operations")
    assert resolved.planned is not None
    machine = priced(lay_out(resolved.planned))
    prices, joules = machine.prices, machine.joules
    # Two slots of four rows over ten blocks each (the next step's tokens begin the eleventh).
    classes = prices.stage_class[0]
    counts = 2 * (prices.token_counts[classes, 4] + prices.head_counts[classes, 4])
    counts += 2 * 4 * 10 * prices.attention_counts[classes, 0]
    tables_j = costing(counts, joules.count_j).sum(axis=0) * 4

    shares = replay_trace(DECODE).summary
    for part, most in (("mac", 0.05), ("sram", 0.12)):
        replayed_j = shares["energy_share"][part] * shares["energy_j"] / 2
        assert replayed_j == pytest.approx(tables_j[PARTS.index(part)], rel=most), part
    assert np.all(counts >= 0)
