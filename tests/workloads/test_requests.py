import hashlib
import struct

import numpy as np
import pytest

from corsair_common.units import Integers
from workloads.requests import Requests, TraceError


def ints(*values: int) -> Integers:
    return np.array(values, dtype=np.int64)


def small(**changes: object) -> Requests:
    columns = {
        "arrival_ps": ints(0, 5, 5),
        "prompt_tokens": ints(10, 20, 30),
        "output_tokens": ints(1, 2, 3),
    }
    return Requests(**{**columns, **changes})  # type: ignore[arg-type]


def test_the_digest_is_that_of_the_content_and_the_same_everywhere() -> None:
    little_endian = struct.pack("<9q", 0, 5, 5, 10, 20, 30, 1, 2, 3)
    by_hand = hashlib.sha256(b"requests 3 0" + little_endian).hexdigest()

    assert small().digest == small(skipped=7, reordered=2).digest == by_hand
    assert small().digest != small(output_tokens=ints(1, 2, 4)).digest


def test_ids_and_their_block_size_are_content_too() -> None:
    ids = {"hash_offsets": ints(0, 1, 2, 3), "hash_ids": ints(0, 1, 2)}

    by_size = {small(hash_block_tokens=size, **ids).digest for size in (30, 32)}
    assert len(by_size | {small().digest}) == 3


def test_columns_cannot_be_written_and_the_caller_keeps_his_own() -> None:
    mine = ints(0, 5, 5)
    requests = small(arrival_ps=mine)

    with pytest.raises(ValueError, match="read-only"):
        requests.arrival_ps[0] = 1
    mine[0] = 0
    assert len(requests) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": ints(10, 0, 30)}, "prompt_tokens of request 1 is 0"),
        ({"output_tokens": ints(1, 2, -3)}, "output_tokens of request 2 is -3"),
        ({"output_tokens": ints(1, 2)}, "output_tokens has 2 rows"),
        ({"arrival_ps": ints(0, 6, 5)}, "request 2 arrives before request 1"),
        ({"arrival_ps": ints(-1, 6, 7)}, "before the trace"),
        ({"arrival_ps": np.array([0.0, np.nan, 1.0])}, "one row of int64, got 1-d float64"),
        ({"arrival_ps": ints()}, "at least one request"),
        ({"hash_ids": ints(1)}, "go together"),
        (
            {
                "hash_offsets": ints(0, 1, 2, 3),
                "hash_ids": ints(0, 1, 2),
                "hash_block_tokens": 15,
            },
            "request 2 has 1 block ids, its prompt of 30 tokens has 2 full blocks of 15",
        ),
        (
            {"hash_offsets": ints(0, 1, 2), "hash_ids": ints(0, 1), "hash_block_tokens": 30},
            "hash_offsets must run from 0 to 2 in 4 steps",
        ),
    ],
)
def test_invalid_values_are_refused_on_construction(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        small(**changes)
