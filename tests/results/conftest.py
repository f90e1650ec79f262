from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from corsair_common.units import Integers
from results.devices import DIMC
from results.engine_columns import card_columns, request_columns
from results.provenance import manifest
from results.summary import Machine, flatten, summarise

MS = 10**9  # picoseconds


@pytest.fixture
def requests() -> dict[str, Integers]:
    """Four requests: two answers of many tokens, one of a single token, one refused."""
    columns = {
        "arrival_ps": [0, 10 * MS, 20 * MS, 1000 * MS],
        "first_scheduled_ps": [2 * MS, 12 * MS, 20 * MS, -1],
        "first_token_ps": [12 * MS, 30 * MS, 25 * MS, -1],
        "finish_ps": [52 * MS, 36 * MS, 25 * MS, -1],
        "prompt_tokens": [100, 200, 50, 9000],
        "output_tokens": [5, 3, 1, 10],
        "replica": [0, 1, 0, -1],
        "preemptions": [1, 0, 0, 0],
        "cached_tokens": [0, 64, 0, 0],
        "status": [0, 0, 0, 1],
    }
    return {name: np.array(values, np.int64) for name, values in columns.items()}


@pytest.fixture
def make_manifest() -> Callable[..., dict[str, object]]:
    """A manifest of any run_id, at a fixed time."""

    def make(run_id: str = "abc123", scenario_name: str = "tiny") -> dict[str, object]:
        start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        return manifest(
            run_id=run_id,
            model_version=1,
            scenario={"name": scenario_name, "model": {"name": "llama-3.1-8b"}},
            inputs=[{"name": "trace.csv", "sha256": "00", "bytes": 12}],
            hardware={"card.clock_hz": {"value": 1e9, "unit": "Hz", "confidence": "assumed"}},
            times=(start, start + timedelta(seconds=1.5)),
            command=["corsair-sim", "serve"],
        )

    return make


@pytest.fixture
def tables(requests: dict[str, Integers]) -> dict[str, object]:
    """Requests, summary and two cards of two bins."""
    edges = np.array([0, 500 * MS, 1000 * MS])
    busy = np.full((2, 6), 50 * MS)
    cards = (
        {
            "card": card,
            "card_name": f"s0.c{card}",
            "server": 0,
            "replica": card,
            "stage": 0,
            **card_columns(edges, busy, DIMC.bound_names),
        }
        for card in range(2)
    )
    summary = summarise(requests, machine=Machine(cards=2))
    return {
        "requests": request_columns(requests),
        "summary": flatten({"run_id": "abc123", "model_version": 1, **summary}),
        "cards": cards,
    }


@pytest.fixture
def run_folder(
    write_run: Callable[..., Path],
    tmp_path: Path,
    tables: dict[str, dict[str, object]],
    make_manifest: Callable[..., dict[str, object]],
) -> Path:
    """A written run under ``tmp_path/runs``."""
    return write_run(tmp_path / "runs", make_manifest(), tables)
