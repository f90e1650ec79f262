import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.prefix import SharedPrefix, block_keys, chain, share_prefixes
from workloads.requests import Requests, TraceError


def trace(prompts: list[int], ids: list[list[int]], block_tokens: int) -> Requests:
    n = len(prompts)
    return Requests(
        arrival_ps=np.arange(n, dtype=np.int64),
        prompt_tokens=np.array(prompts, dtype=np.int64),
        output_tokens=np.ones(n, dtype=np.int64),
        hash_offsets=np.cumsum([0, *map(len, ids)], dtype=np.int64),
        hash_ids=np.array(list(itertools.chain(*ids)), dtype=np.int64),
        hash_block_tokens=block_tokens,
    )


def test_a_trace_block_is_cut_into_the_kv_blocks_that_the_prompt_fills() -> None:
    requests = trace([300, 200], [[7, 8], [7]], 256)

    offsets, keys, count = block_keys(requests, 64)

    # 300 tokens fill 4 + 0 blocks of 64, 200 tokens fill 3, all in the shared trace block 7
    assert offsets.tolist() == [0, 4, 7]
    assert keys.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert count == 4


def test_a_kv_block_of_several_trace_blocks_is_named_by_the_last() -> None:
    requests = trace([70, 64, 64], [[1, 2, 3, 4, 5], [1, 2, 3, 4], [1, 2, 3, 9]], 16)

    offsets, keys, count = block_keys(requests, 32)

    assert offsets.tolist() == [0, 2, 4, 6]
    assert keys[0] == keys[2] == keys[4]  # (1, 2)
    assert keys[1] == keys[3] != keys[5]  # (1, 2, 3, 4) and (1, 2, 3, 9)
    assert count == 3


def test_equal_blocks_after_different_beginnings_get_different_keys() -> None:
    requests = trace([48, 48], [[1, 5, 6], [2, 5, 6]], 16)

    _, keys, count = block_keys(requests, 16)

    assert count == 6
    assert len(set(keys.tolist())) == 6


def test_blocks_that_fit_neither_way_are_refused() -> None:
    with pytest.raises(TraceError, match=r"block_size 24 .* blocks of 16 tokens"):
        block_keys(trace([16], [[1]], 16), 24)
    with pytest.raises(TraceError, match="at least 1, got 0"):
        block_keys(trace([16], [[1]], 16), 0)


def test_a_trace_without_ids_has_no_keys() -> None:
    one = np.ones(2, dtype=np.int64)
    requests = Requests(arrival_ps=one, prompt_tokens=one, output_tokens=one)

    offsets, keys, count = block_keys(requests, 64)

    assert offsets.tolist() == [0, 0, 0]
    assert (len(keys), count) == (0, 0)


@given(rows=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=8))
def test_equal_names_mean_equal_prefixes_and_only_those(rows: list[list[int]]) -> None:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    names = chain(offsets, np.array(list(itertools.chain(*rows)), dtype=np.int64)).tolist()

    prefixes = [tuple(row[: end + 1]) for row in rows for end in range(len(row))]
    assert len(set(zip(prefixes, names, strict=True))) == len(set(prefixes)) == len(set(names))


def test_every_prompt_shares_the_common_start_and_a_followup_its_parents_full_blocks() -> None:
    spec = SharedPrefix(block_tokens=10, common_blocks=1, followup=1.0, choice=8, memory=1)
    prompts = np.array([25, 38, 5], dtype=np.int64)

    offsets, ids = share_prefixes(spec, prompts, np.random.default_rng(0))

    assert offsets.tolist() == [0, 3, 7, 8]
    assert ids[0] == ids[3] == 0
    assert ids[1] == ids[4]  # two full blocks of the parent
    assert len(set(ids[[2, 5, 6, 7]].tolist())) == 4  # the rest is new; 5 tokens fill no block


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"followup": float("nan")}, "followup must lie"), ({"choice": 0}, "choice must be at least")],
)
def test_a_wrong_share_is_refused(changes: dict[str, float], message: str) -> None:
    good = {"block_tokens": 16, "common_blocks": 0, "followup": 0.5, "choice": 1, "memory": 1}
    with pytest.raises(TraceError, match=message):
        SharedPrefix(**{**good, **changes})  # type: ignore[arg-type]
