from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corsair_common.units import Integers
from results import engine_columns
from results.engine_columns import (
    card_columns,
    link_columns,
    request_columns,
    request_parts,
    seconds,
)
from results.schema import TABLES

MS = 10**9


def test_the_derived_times_of_a_request_are_differences(requests: dict[str, Integers]) -> None:
    columns = request_columns(requests)

    np.testing.assert_array_equal(columns["ttft_s"], [0.012, 0.020, 0.005, np.nan])
    np.testing.assert_array_equal(columns["e2e_s"], [0.052, 0.026, 0.005, np.nan])
    np.testing.assert_array_equal(columns["queue_s"], [0.002, 0.002, 0.0, np.nan])


def test_tpot_is_the_decode_time_per_later_token_and_undefined_for_one(
    requests: dict[str, Integers],
) -> None:
    columns = request_columns(requests)

    np.testing.assert_array_equal(columns["tpot_s"], [0.040 / 4, 0.006 / 2, np.nan, np.nan])


def test_a_difference_keeps_its_picoseconds_late_in_a_long_run(
    requests: dict[str, Integers],
) -> None:
    late = 100 * 86_400 * 10**12  # a hundred days: float64 seconds would be off by nanoseconds
    requests["arrival_ps"][0] = late
    requests["first_token_ps"][0] = late + 3
    columns = request_columns(requests)

    assert np.asarray(columns["ttft_s"])[0] == 3e-12


def test_a_request_gives_exactly_the_declared_columns(requests: dict[str, Integers]) -> None:
    declared = {column.name for column in TABLES["requests"].columns}

    assert declared - set(request_columns(requests)) == {*OF_POOLS, "session", "turn"}


def test_a_request_of_a_disaggregated_run_gives_its_transfer_too(
    requests: dict[str, Integers],
) -> None:
    moved = np.array([5_000_000_000, 0, 7, -1])
    own = {"decode_replica": moved, "kv_transfer_ps": moved, "kv_transfer_bytes": moved}
    own |= {"session": np.zeros(4, np.int64), "turn": np.arange(4)}
    declared = {column.name for column in TABLES["requests"].columns}

    columns = request_columns(requests | own)

    assert set(columns) == declared
    np.testing.assert_array_equal(columns["kv_transfer_s"], [0.005, 0, 7e-12, np.nan])
    sent: Any = columns["kv_transfer_bytes"]
    assert sent.mask.tolist() == [False, False, False, True]


OF_POOLS = {"decode_replica", "kv_transfer_s", "kv_transfer_bytes"}


@given(st.integers(0, 8_192 * 10**12))
def test_seconds_keep_every_picosecond_of_two_hours(ps: int) -> None:
    assert round(Fraction(float(seconds(np.array([ps]))[0])) * 10**12) == ps


def test_busy_and_idle_fill_the_bin() -> None:
    edges = np.array([0, 100 * MS, 250 * MS])
    busy = np.array([[1, 2, 3, 4, 5, 6], [10, 0, 0, 0, 0, 0]]) * MS
    columns = card_columns(edges, busy, "abcdef")

    np.testing.assert_array_equal(columns["idle_s"], [0.079, 0.140])
    np.testing.assert_array_equal(columns["busy_f_s"], [0.006, 0.0])


def test_a_card_that_is_busier_than_the_bin_is_long_is_refused() -> None:
    edges, busy = np.array([0, 10, 20]), np.array([[1] * 6, [2] * 6])

    with pytest.raises(ValueError, match="bin 1 is busy 2 ps longer than it lasts"):
        card_columns(edges, busy, "abcdef")


def test_a_links_utilisation_is_its_busy_share() -> None:
    columns = link_columns(np.array([0, 4 * MS, 8 * MS]), np.array([7, 0]), np.array([MS, 0]))

    np.testing.assert_array_equal(columns["utilisation"], [0.25, 0.0])


def test_parts_of_requests_are_the_columns_of_all(
    requests: dict[str, Integers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_columns, "REQUESTS_AT_ONCE", 3)
    parts = list(request_parts(requests))

    assert [len(np.asarray(part["arrival_s"])) for part in parts] == [3, 1]
    for name, whole in request_columns(requests).items():
        joined = np.ma.concatenate(  # type: ignore[no-untyped-call]
            [np.ma.asarray(part[name]) for part in parts]
        )
        np.testing.assert_array_equal(joined, np.ma.asarray(whole), name)


def test_a_run_without_requests_has_one_empty_part(requests: dict[str, Integers]) -> None:
    none = {name: column[:0] for name, column in requests.items()}

    assert [len(np.asarray(part["request_id"])) for part in request_parts(none)] == [0]
