from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cluster import load
from cluster.actors.partition import independent_parts
from cluster.actors.placement import pack
from cluster.actors.worker import Place, StageBooks, WorkerState, bins_of
from cluster.perf_model.card import cards_of
from cluster.perf_model.prices import price_stages, price_tables
from cluster.perf_model.tables import Records
from cluster.scenario.resolve import Resolved, resolve
from cluster.serving.arrivals import arrivals_of
from cluster.serving.run import Machine, Outcome, assemble, execute, lay_out
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


@pytest.mark.parametrize("cards_per_actor", [1, 3, 8, 16])
def test_what_the_shares_account_for_is_the_account_of_the_whole(
    cards_per_actor: int, machine: Machine, whole: tuple[Outcome, list[Records]]
) -> None:
    outcome, windows = whole
    begin_ps = outcome.bins.start_ps
    books: dict[Place, StageBooks] = {}
    for share in shares(machine, cards_per_actor):
        share.open(0, np.arange(4), machine.prices, 16, begin_ps)
        for window in windows:
            window.flags.writeable = False
            share.account(0, window)
        places = sorted(share.places)
        books |= dict(zip(places, share.close(outcome.end_ps, places), strict=True))

    bins = bins_of(books)
    assert (bins.bin_ps, bins.start_ps) == (outcome.bins.bin_ps, begin_ps)
    for name in ("busy_ps", "tokens", "steps", "tier_bytes", "send_bytes", "counts", "kv_block_ns"):
        assert np.array_equal(getattr(bins, name), getattr(outcome.bins, name)), name
    assert np.array_equal(bins.peak_blocks, outcome.bins.peak_blocks)


def test_replicas_accounted_for_apart_get_the_bins_of_the_whole(
    resolved: Resolved, machine: Machine, whole: tuple[Outcome, list[Records]]
) -> None:
    arrivals = arrivals_of(resolved)
    parts = independent_parts(arrivals, machine.limits, 4)
    share = WorkerState(cards_of(machine.routes, machine.cards, machine.fit))
    begin_ps, ends = resolved.begin_ps, []
    request_j = np.zeros(len(arrivals.arrival_ps))
    for number, part in enumerate(parts):
        share.open(number, part.replicas, machine.prices, 16, begin_ps)
        share.begin(number, part, machine.prices, arrivals, machine.joules, machine.limits)
        running = True
        while running:
            progress, window = share.advance(number, 100)
            share.account(number, window)
            running = progress.running
        served, _, request_j[part.requests] = share.served(number)
        ends.append(served.end_ps)
    places = sorted(share.places)
    bins = bins_of(dict(zip(places, share.close(max(ends), places), strict=True)))

    assert len(set(ends)) == 4
    assert bins.bin_ps == whole[0].bins.bin_ps
    assert np.array_equal(bins.busy_ps, whole[0].bins.busy_ps)
    assert np.array_equal(bins.kv_block_ns, whole[0].bins.kv_block_ns)
    assert np.array_equal(request_j, whole[0].request_j)
    assert np.array_equal(request_j > 0, whole[0].served.status == 0)


def test_the_columns_of_a_share_are_those_of_its_cards(
    machine: Machine, whole: tuple[Outcome, list[Records]]
) -> None:
    outcome, windows = whole
    share = shares(machine, 4)[1]
    share.open(0, np.arange(4), machine.prices, 16, outcome.bins.start_ps)
    share.account(0, np.concatenate(windows))
    share.close(outcome.end_ps, [])

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
    share = shares(machine, 16)[0]
    apart = price_tables(
        inputs, lambda supplied, jobs: [share.price(supplied, [job])[0] for job in jobs]
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
    for number, part in enumerate(independent_parts(arrivals, limits, 4)):
        share.open(number, part.replicas, machine.prices, 16, warm.begin_ps)
        share.begin(number, part, machine.prices, arrivals, machine.joules, limits, warm.begin_ps)
        running = True
        while running:
            progress, window = share.advance(number, 100)
            share.account(number, window)
            running = progress.running
        _, tally, _ = share.served(number)
        steps, members = steps + tally.steps, members + tally.members
    places = sorted(share.places)
    bins = bins_of(dict(zip(places, share.close(outcome.end_ps, places), strict=True)))

    assert (bins.start_ps, bins.bin_ps) == (outcome.bins.start_ps, outcome.bins.bin_ps)
    assert np.array_equal(bins.busy_ps, outcome.bins.busy_ps)
    assert np.array_equal(bins.kv_block_ns, outcome.bins.kv_block_ns)
    assert (steps, members) == (outcome.steps, outcome.members)
    assert 0 < steps < execute(resolve(requested), machine).steps
