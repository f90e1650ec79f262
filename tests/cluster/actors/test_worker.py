from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
import pytest

from cluster import load
from cluster.actors.partition import independent_parts, joined_latency
from cluster.actors.placement import pack
from cluster.actors.worker import Place, WorkerState, joined_bins
from cluster.perf_model.card import cards_of
from cluster.perf_model.prices import price_stages, price_tables
from cluster.perf_model.tables import STEP, Records
from cluster.perf_model.timeline import Bins
from cluster.scenario.resolve import Resolved, resolve
from cluster.serving.arrivals import arrivals_of
from cluster.serving.outcome import Outcome
from cluster.serving.run import Machine, assemble, execute, lay_out
from cluster.serving.tables import card_parts


@pytest.fixture(scope="module")
def resolved(four_replicas: Mapping[str, Any]) -> Resolved:
    """Short bins, so that they double before the run is over."""
    return resolve(load(four_replicas, store={"bins": 16}))


@pytest.fixture(scope="module")
def machine(resolved: Resolved) -> Machine:
    return assemble(resolved)


@pytest.fixture(scope="module")
def whole(resolved: Resolved, machine: Machine) -> tuple[Outcome, list[Records]]:
    """The run in one piece and its log."""
    windows: list[Records] = []
    outcome = execute(resolved, machine, on_steps=lambda window: windows.append(window.copy()))
    return outcome, windows


def shares(machine: Machine, cards_per_actor: int) -> list[WorkerState]:
    cards = {card.index: card for card in cards_of(machine.routes, machine.cards, machine.fit)}
    servers = {index: int(machine.routes.server[index]) for index in cards}
    packing = pack(servers, cards_per_actor, cpus=1)
    return [WorkerState([cards[card] for card in hosted]) for hosted in packing.actors]


def run_part(share: WorkerState, number: int, inputs: Any) -> tuple[int, Any]:
    """Run a part and book its log, all on one worker; the number of windows, and the result."""
    part, prices, *_, begin_ps = inputs
    share.open(number, part.replicas, prices, 16, begin_ps)
    for window in count():
        progress, log = share.window(number, window, 100, *inputs, True)
        share.account(number, window, log)
        if progress.result is not None:
            return window + 1, progress.result
    raise AssertionError


def closed(share: WorkerState, end_ps: int, windows: dict[int, int]) -> dict[Place, Bins]:
    places = sorted(share.places)
    closed_bins = share.close(end_ps, windows, places)
    assert closed_bins is not None
    return dict(zip(places, closed_bins, strict=True))


@pytest.mark.parametrize("cards_per_actor", [1, 3, 8, 16])
def test_what_the_shares_account_for_is_the_account_of_the_whole(
    cards_per_actor: int, machine: Machine, whole: tuple[Outcome, list[Records]]
) -> None:
    outcome, windows = whole
    begin_ps = outcome.bins.start_ps
    closed_bins: dict[Place, Bins] = {}
    for share in shares(machine, cards_per_actor):
        share.open(0, np.arange(4), machine.prices, 16, begin_ps)
        for number, window in enumerate(windows):
            window.flags.writeable = False
            share.account(0, number, window)
        closed_bins |= closed(share, outcome.end_ps, {0: len(windows)})

    bins = joined_bins(closed_bins)
    assert (bins.bin_ps, bins.start_ps) == (outcome.bins.bin_ps, begin_ps)
    for name in ("busy_ps", "tokens", "steps", "tier_bytes", "send_bytes", "counts", "kv_block_ns"):
        assert np.array_equal(getattr(bins, name), getattr(outcome.bins, name)), name
    assert np.array_equal(bins.peak_blocks, outcome.bins.peak_blocks)


def test_replicas_accounted_for_apart_get_the_bins_and_latencies_of_the_whole(
    resolved: Resolved, machine: Machine, whole: tuple[Outcome, list[Records]]
) -> None:
    arrivals = arrivals_of(resolved)
    parts = independent_parts(arrivals, machine.limits, 4)
    share = WorkerState(cards_of(machine.routes, machine.cards, machine.fit))
    ends, windows, latencies = [], {}, []
    request_j = np.zeros(len(arrivals.arrival_ps))
    for number, part in enumerate(parts):
        inputs = part, machine.prices, arrivals, machine.joules, machine.limits
        windows[number], result = run_part(share, number, (*inputs, resolved.begin_ps))
        served, _, request_j[part.requests], latency = result
        latencies.append(latency)
        ends.append(served.end_ps)
    bins = joined_bins(closed(share, max(ends), windows))

    assert len(set(ends)) == 4
    assert bins.bin_ps == whole[0].bins.bin_ps
    assert np.array_equal(bins.busy_ps, whole[0].bins.busy_ps)
    assert np.array_equal(bins.kv_block_ns, whole[0].bins.kv_block_ns)
    assert np.array_equal(request_j, whole[0].request_j)
    joined, expected = joined_latency(parts, latencies, len(request_j)), whole[0].latency
    assert joined is not None
    assert expected is not None
    assert joined.causes == expected.causes
    assert np.array_equal(joined.whole, expected.whole)
    assert np.array_equal(joined.first, expected.first)
    assert np.array_equal(request_j > 0, whole[0].served.status == 0)


def test_the_columns_of_a_share_are_those_of_its_cards(
    machine: Machine, whole: tuple[Outcome, list[Records]]
) -> None:
    outcome, windows = whole
    share = shares(machine, 4)[1]
    share.open(0, np.arange(4), machine.prices, 16, outcome.bins.start_ps)
    share.account(0, 0, np.concatenate(windows))
    share.close(outcome.end_ps, {0: 1}, [])

    (place, columns), *others = share.columns(machine.fit.pool, machine.prices.bounds).items()
    assert not others
    assert place == (1, 0)
    part = list(card_parts(machine, outcome))[int(machine.cards[1, 0, 2])]
    for name, column in columns.items():
        assert np.array_equal(column, part[name]), name


def test_stages_priced_one_by_one_give_the_tables_of_the_whole(
    resolved: Resolved, machine: Machine
) -> None:
    inputs = lay_out(resolved).inputs
    apart = price_tables(
        inputs, lambda supplied, jobs: [price_stages(supplied, [job])[0] for job in jobs]
    )

    assert np.array_equal(apart.linear_ps, price_tables(inputs, price_stages).linear_ps)
    assert np.array_equal(apart.stage_class, machine.prices.stage_class)


def test_an_account_that_is_still_open_gives_nothing_away(machine: Machine) -> None:
    share = shares(machine, 16)[0]
    share.open(0, np.arange(4), machine.prices, 16)

    with pytest.raises(RuntimeError, match="replica 0 is still open"):
        share.columns(machine.fit.pool, machine.prices.bounds)


def test_shares_leave_out_the_same_warm_up_as_the_whole(
    four_replicas: Mapping[str, Any], machine: Machine
) -> None:
    requested = load(four_replicas, store={"bins": 16})
    span_ps = int(np.ptp(resolve(requested).requests.arrival_ps))
    warm = resolve(requested.model_copy(update={"warmup_s": span_ps / 2e12}))
    arrivals, limits = arrivals_of(warm), machine.limits
    outcome = execute(warm, machine)
    share = WorkerState(cards_of(machine.routes, machine.cards, machine.fit))
    steps = members = 0
    windows = {}
    for number, part in enumerate(independent_parts(arrivals, limits, 4)):
        inputs = part, machine.prices, arrivals, machine.joules, limits, warm.begin_ps
        windows[number], (_, tally, *_) = run_part(share, number, inputs)
        steps, members = steps + tally.steps, members + tally.members
    bins = joined_bins(closed(share, outcome.end_ps, windows))

    assert (bins.start_ps, bins.bin_ps) == (outcome.bins.start_ps, outcome.bins.bin_ps)
    assert np.array_equal(bins.busy_ps, outcome.bins.busy_ps)
    assert np.array_equal(bins.kv_block_ns, outcome.bins.kv_block_ns)
    assert (steps, members) == (outcome.steps, outcome.members)
    assert 0 < steps < execute(resolve(requested), machine).steps


def test_a_window_that_comes_twice_is_booked_once_and_one_that_comes_early_is_not(
    machine: Machine, whole: tuple[Outcome, list[Records]]
) -> None:
    outcome, windows = whole
    share, last = shares(machine, 16)[0], len(windows) - 1
    share.open(0, np.arange(4), machine.prices, 16, outcome.bins.start_ps)
    for number, window in enumerate(windows[:last]):
        share.account(0, last, windows[last])
        share.account(0, number, window)
        share.account(0, number, window)

    assert last > 1
    assert share.close(outcome.end_ps, {0: len(windows)}, [(0, 0)]) is None
    share.account(0, last, windows[last])
    closed_bins = share.close(outcome.end_ps, {0: len(windows)}, [(0, 0)])
    assert closed_bins is not None
    assert np.array_equal(closed_bins[0].busy_ps[0, 0], outcome.bins.busy_ps[0, 0])


def test_a_worker_that_has_lost_its_accounts_gives_none(machine: Machine) -> None:
    share = shares(machine, 16)[0]
    share.account(0, 3, np.zeros(1, STEP))

    assert share.close(10**12, {0: 4}, [(0, 0)]) is None
    assert share.columns(machine.fit.pool, machine.prices.bounds) == {}


def test_a_new_worker_gives_any_window_of_a_part_again(
    resolved: Resolved, machine: Machine
) -> None:
    arrivals = arrivals_of(resolved)
    part = independent_parts(arrivals, machine.limits, 4)[2]
    inputs = part, machine.prices, arrivals, machine.joules, machine.limits, resolved.begin_ps
    first, other = WorkerState([]), WorkerState([])
    logs = [first.window(2, number, 50, *inputs)[1] for number in range(4)]

    assert np.array_equal(other.window(2, 3, 50, *inputs)[1], logs[3])
    assert np.array_equal(first.window(2, 1, 50, *inputs)[1], logs[1])
    assert np.array_equal(first.window(2, 2, 50, *inputs)[1], logs[2])
