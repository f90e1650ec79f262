from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.studies.scoreboard.bands import band_of, evidence, held, held_elsewhere
from cluster.studies.scoreboard.blind import (
    CONSTANTS,
    OWN,
    Blind,
    blind_hardware,
    donors_of,
    write_blind,
)
from cluster.studies.scoreboard.trust_file import measured_sets, trust_yaml
from topology.catalog import load_hardware
from topology.strict_yaml import parse_document


def row(predicted: float, **changes: Any) -> dict[str, Any]:
    """A point measured at a TPOT of 100 ms, without a scored TTFT."""
    return {
        "set": {
            "device": "h100", "engine": "vllm", "model": "llama-3.1-70b", "precision": "fp8",
            "mode": "agg",
        },
        "fitted": False, "refused": None, "scores_ttft": False,
        "predicted_tpot_ms": predicted, "measured_tpot_ms": 100.0,
        "tp_size": 4, "pp_size": 1, "isl": 1024, "osl": 512, "concurrency": 8, "precision": "fp8",
    } | changes  # fmt: skip


ROWS = [row(100.0 + error) for error in range(-20, 21)]
"""Errors of -20 % to +20 %, one of each per cent."""


def test_a_band_is_of_the_errors_from_the_5th_to_the_95th_percentile() -> None:
    assert band_of(ROWS) == {"tpot": {"low": -0.18, "high": 0.18, "n": 41}}
    assert held(ROWS, band_of(ROWS), "tpot") == pytest.approx(37 / 41)
    assert held(ROWS, band_of(ROWS), "ttft") is None


def test_left_out_rows_are_judged_by_bands_that_they_had_no_part_in() -> None:
    alike = [row(110.0) for _ in range(9)]

    assert held_elsewhere(alike, "tpot") == 1.0
    # the one that differs is outside of what the others span; within each fifth without it, inside
    assert held_elsewhere([*alike, row(200.0)], "tpot") == pytest.approx(0.9)
    assert held_elsewhere(alike, "ttft") is None


def test_fitted_and_refused_rows_other_engines_and_users_without_a_seat_are_no_evidence() -> None:
    other = row(100.0)
    other["set"] = {**other["set"], "engine": "trtllm"}

    no_seat = row(300.0, concurrency=512)
    rows = [row(90.0), row(1.0, fitted=True), row(1.0, refused="why"), other, no_seat]
    assert evidence(rows) == [row(90.0)]


def test_the_file_of_trust_names_ranges_and_bands() -> None:
    wider = row(100.0, concurrency=64, isl=8192, tp_size=0)
    sets = measured_sets([*ROWS, wider, row(1.0, fitted=True)])
    read = parse_document(
        trust_yaml({"dense": band_of(ROWS)}, sets, ["h200", "a100", "h200"]), "trust.yaml"
    ).mapping()

    assert read["bands"]["dense"]["tpot"] == {"low": -0.18, "high": 0.18, "n": 41}
    assert read["operations"] == ["a100", "h200"]
    assert read["sets"] == [
        {
            "device": "h100", "model": "llama-3.1-70b", "weights": "fp8", "experts": False,
            "n": 42, "tp": [1, 4], "pp": [1, 1], "prompt_tokens": [1024, 8192],
            "output_tokens": [512, 512], "users": [8, 64],
        }
    ]  # fmt: skip


def test_a_blind_device_has_its_data_sheet_and_the_means_of_other_devices(tmp_path: Path) -> None:
    blind = load_hardware(blind_hardware(Blind(device="h100", donors=donors_of("h100")), tmp_path))
    own = load_hardware("h100")
    others: Mapping[str, Any] = {name: load_hardware(name) for name in donors_of("h100")}

    name = "gpu.gemm_latency_s"
    assert blind[name] == pytest.approx(np.prod([h[name] for h in others.values()]) ** (1 / 3))
    # RTX PRO 6000 has no measured all-reduce in one scale-up network
    name = "gpu.all_reduce_latency_s"
    assert blind[name] == pytest.approx((others["a100"][name] * others["b200"][name]) ** 0.5)
    for name in ("gpu.bf16_flop_per_s", "gpu.memory_bandwidth_bytes_per_s", "card.tdp_w"):
        assert blind[name] == own[name]
    assert not set(OWN) & set(blind.figures)
    assert blind["engine.step_s"] != own["engine.step_s"]
    assert "h200" not in donors_of("h100")
    assert "h100" not in donors_of("h200")


def test_a_device_of_its_data_sheet_keeps_products_and_the_engine_alone(tmp_path: Path) -> None:
    files = write_blind(CONSTANTS["data-sheet"], tmp_path)
    blind, own = load_hardware(files["h100"]), load_hardware("h100")

    for name in ("gpu.gemm_flop_efficiency", "gpu.fp8_gemm_latency_s", "engine.step_s"):
        assert blind[name] == own[name]
    assert blind["gpu.attention_latency_s"] != own["gpu.attention_latency_s"]
    assert "gpu.fp8_attention_latency_s" not in blind.figures
    assert set(files) == {"h100", "b200"}


def test_with_the_host_of_another_log_all_but_the_engine_is_the_device_s_own(
    tmp_path: Path,
) -> None:
    blind = load_hardware(write_blind(CONSTANTS["other-log"], tmp_path)["h100"])
    own = load_hardware("h100").figures

    changed = {name for name, figure in blind.figures.items() if figure.value != own[name].value}
    assert changed == {"engine.step_s", "engine.sequence_s", "engine.eager_layer_s"}
