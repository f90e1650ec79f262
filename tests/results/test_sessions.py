"""Figures of sessions, counted by hand."""

import numpy as np
import pytest

from corsair_common.names import Status
from results.engine_columns import request_columns
from results.report.turns import turns_table
from results.sessions import KEYS, by_turn, session_summary

S = 10**12


def served() -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Session 0: 0-10 s (first token 1 s), 20-25 (22); session 1: 5-9 (8)."""
    columns = {
        "session": [0, 1, 0],
        "turn": [0, 0, 1],
        "arrival_ps": [0, 5 * S, 20 * S],
        "first_scheduled_ps": [0, 5 * S, 20 * S],
        "first_token_ps": [S, 8 * S, 22 * S],
        "finish_ps": [10 * S, 9 * S, 25 * S],
        "prompt_tokens": [100, 300, 200],
        "cached_tokens": [0, 40, 150],
        "output_tokens": [5, 5, 5],
        "replica": [0, 0, 0],
        "preemptions": [0, 0, 0],
        "status": [int(Status.COMPLETED)] * 3,
    }
    return {name: np.array(column) for name, column in columns.items()}


def test_a_session_lasts_from_its_first_arrival_to_its_last_finish() -> None:
    found = session_summary(served())

    assert list(found) == list(KEYS)
    assert found["sessions"] == 2
    assert found["mean_turns"] == 1.5
    assert found["mean_session_s"] == (25 + 4) / 2
    assert found["mean_first_turn_ttft_ms"] == (1000 + 3000) / 2
    assert found["mean_later_turn_ttft_ms"] == 2000
    assert found["first_turn_hit_rate"] == 40 / 400
    assert found["later_turn_hit_rate"] == 150 / 200


def test_a_run_without_sessions_has_none_of_the_figures() -> None:
    columns = {name: served()[name] for name in served() if name not in ("session", "turn")}

    assert set(session_summary(columns).values()) == {None}


def test_figures_by_turn() -> None:
    table = by_turn(request_columns(served()))

    assert table["turn"].tolist() == [0, 1]
    assert table["requests"].tolist() == [2, 1]
    assert table["hit_rate"].tolist() == [0.1, 0.75]
    assert table["mean_ttft_s"].tolist() == [2.0, 2.0]
    assert '<td class="number" data-value="75.0">75</td>' in turns_table(request_columns(served()))
    with pytest.raises(KeyError, match="no sessions"):
        by_turn({"turn": np.ma.masked_less(np.array([-1, -1]), 0)})
