"""Transfers that meet no others are replayed once for all alike, and nothing can tell."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cluster import Run
from cluster.disaggregated import kv_messages
from cluster.disaggregated.kv_transfer import KvTransfers, PrefilledRequests, transfer_kv
from cluster.disaggregated.placement import PooledMachine
from corsair_common.units import Integers

RunPooled = Callable[..., Run]
REQUESTS = 300


def transfers(run: Run, gap_s: float, *, layerwise: bool, most_bins: int) -> KvTransfers:
    """Of few kinds of prompts, at random times, between any replicas."""
    assert isinstance(run.machine, PooledMachine)
    rng = np.random.default_rng(0)
    prompts = rng.choice([64, 65, 400], REQUESTS)
    began_ps = np.cumsum(rng.exponential(1e12 * gap_s, REQUESTS)).astype(np.int64)
    prefilled = PrefilledRequests(
        began_ps=began_ps,
        ended_ps=began_ps + prompts * 10**8,
        prompt_tokens=prompts,
        replica=rng.integers(0, 2, REQUESTS),
        target=rng.integers(0, 3, REQUESTS),
    )
    return transfer_kv(run.machine.kv, prefilled, layerwise=layerwise, most_bins=most_bins)


@pytest.mark.parametrize("layerwise", [False, True])
@pytest.mark.parametrize(("gap_s", "most_bins"), [(0.5, 1000), (0.02, 1000), (0.002, 20)])
def test_times_and_bytes_are_those_of_one_replay_of_all(
    run_pooled: RunPooled,
    monkeypatch: pytest.MonkeyPatch,
    gap_s: float,
    most_bins: int,
    layerwise: bool,
) -> None:
    run = run_pooled()
    found = transfers(run, gap_s, layerwise=layerwise, most_bins=most_bins)
    monkeypatch.setattr(kv_messages, "FEW", REQUESTS)
    expected = transfers(run, gap_s, layerwise=layerwise, most_bins=most_bins)

    np.testing.assert_array_equal(found.received_ps, expected.received_ps)
    np.testing.assert_array_equal(found.sent_bytes, expected.sent_bytes)
    np.testing.assert_array_equal(found.link_bytes, expected.link_bytes)
    assert found.bin_ps == expected.bin_ps


def test_only_those_that_meet_others_are_replayed_at_their_own_time(
    run_pooled: RunPooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed: list[int] = []
    whole = kv_messages.Messages.replayed

    def counted(self: kv_messages.Messages, rows: Integers, *rest: Any) -> kv_messages.Found:
        replayed.append(len(rows))
        return whole(self, rows, *rest)

    monkeypatch.setattr(kv_messages.Messages, "replayed", counted)
    transfers(run_pooled(), 0.5, layerwise=False, most_bins=1000)

    assert replayed[0] == 3 * 2 * 3  # prompts of three lengths between two and three replicas
    assert sum(replayed) < REQUESTS / 3
