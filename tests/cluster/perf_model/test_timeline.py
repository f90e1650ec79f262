from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.attention import ATTENTION, attention_ps
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.rebin import stretched
from cluster.perf_model.tables import KIND, MEASURES, STEP, PriceTables, Records
from cluster.perf_model.timeline import FIRST_BIN_PS, Account, AccountError, Bins
from corsair_common.units import Integers

TOKENS, SEQS, CLASSES, TIERS = 8, 4, 2, 7


def one_of_each() -> Records:
    """[class, 1] a product whose every figure is 1, of layers of kind 0."""
    attention = np.zeros((CLASSES, 1), ATTENTION)
    for name in ATTENTION.names or ():
        attention[name] = 1
    attention["kind"] = 0
    return attention


def priced(
    replicas: int = 1, stages: int = 1, seed: int = 0, longest_ps: int = 10**8
) -> PriceTables:
    """Prices drawn at random; the last stage has a class of its own, with a head."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int, high: int = longest_ps) -> Integers:
        table = rng.integers(1, high, shape)
        table[:, 0] = 0
        return table

    linear, head = drawn(CLASSES, TOKENS + 1, 6), drawn(CLASSES, SEQS + 1, 6)
    head[0] = 0
    attention = one_of_each()
    stage_class = np.zeros((replicas, stages), np.int64)
    stage_class[:, -1] = 1
    return PriceTables(
        linear_ps=linear.sum(axis=-1),
        collective_ps=drawn(CLASSES, TOKENS + 1),
        floor_ps=drawn(CLASSES, TOKENS + 1, high=8 * longest_ps),
        send_ps=drawn(CLASSES, TOKENS + 1),
        head_ps=head.sum(axis=-1),
        attention=attention,
        linear_by_bound_ps=linear,
        head_by_bound_ps=head,
        collective_bytes=drawn(CLASSES, TOKENS + 1, TIERS, high=10**6),
        send_bytes=drawn(CLASSES, TOKENS + 1, high=10**6),
        token_counts=drawn(CLASSES, TOKENS + 1, len(COUNTS), high=10**6),
        head_counts=drawn(CLASSES, SEQS + 1, len(COUNTS), high=10**6),
        far_block_ps=np.ones((CLASSES, 1)),
        attention_counts=rng.integers(0, 1000, (CLASSES, len(MEASURES), len(COUNTS))),
        stage_class=stage_class,
        return_ps=np.zeros(replicas, np.int64),
        kinds=np.array([(0, 32, 64, 0)], KIND),
        bounds=BOUNDS,
        far_bound=BOUNDS.index("lpddr"),
        ahead=True,
    )


def thinned(prices: PriceTables, seed: int) -> PriceTables:
    """The same without some tiers, counts and measures."""
    rng = np.random.default_rng(seed)
    tiers, counts, measures = (
        rng.integers(2, size=size) for size in (TIERS, len(COUNTS), len(MEASURES))
    )
    return replace(
        prices,
        collective_bytes=prices.collective_bytes * tiers,
        token_counts=prices.token_counts * counts,
        head_counts=prices.head_counts * counts,
        attention_counts=prices.attention_counts * measures[:, None],
    )


def work_ps(prices: PriceTables, kind: int, row: Any) -> int:
    tokens = row["tokens"]
    parts = (
        prices.linear_ps[kind, tokens]
        + prices.collective_ps[kind, tokens]
        + attention_ps(prices.attention[kind], np.array([row[name] for name in MEASURES]))
    )
    return int(max(prices.floor_ps[kind, tokens], parts) + prices.head_ps[kind, row["emitted"]])


def logged(prices: PriceTables, steps: int, seed: int = 0, pause_ps: int = 10**8) -> Records:
    """A log that obeys the rules of serving, by the formula in PriceTables."""
    rng = np.random.default_rng(seed)
    replicas, stages = prices.stage_class.shape
    rows = np.zeros(steps, STEP)
    free = np.zeros((replicas, stages), np.int64)
    for row in rows:
        replica = row["replica"] = rng.integers(replicas)
        row["tokens"], row["emitted"] = rng.integers(1, TOKENS + 1), rng.integers(SEQS + 1)
        row["decode_blocks"], row["prefill_passes"] = rng.integers(0, 1000, 2)
        row["used_blocks"] = rng.integers(1, 100)
        ready = row["start_ps"] = free[replica, 0] + rng.integers(2) * rng.integers(pause_ps)
        for k, kind in enumerate(prices.stage_class[replica]):
            start = max(ready, free[replica, k])
            free[replica, k] = start + work_ps(prices, kind, row)
            ready = free[replica, k] + prices.send_ps[kind, row["tokens"]]
        row["end_ps"] = free[replica, -1]
    return rows


def accounted(prices: PriceTables, *windows: Records, max_bins: int = 1000) -> Bins:
    account = Account(prices, max_bins=max_bins)
    for window in windows:
        account.add(window)
    return account.bins()


def equal(one: Bins, other: Bins) -> bool:
    return all(
        np.array_equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(Bins)
    )


def test_a_piece_of_work_that_crosses_an_edge_is_split_without_loss() -> None:
    prices = replace(
        priced(),
        linear_by_bound_ps=np.full((CLASSES, TOKENS + 1, 6), FIRST_BIN_PS // 4),
        collective_ps=np.zeros((CLASSES, TOKENS + 1), np.int64),
        floor_ps=np.zeros((CLASSES, TOKENS + 1), np.int64),
        attention=np.zeros((CLASSES, 1), ATTENTION),
        collective_bytes=np.full((CLASSES, TOKENS + 1, TIERS), 600),
    )
    row = np.zeros(1, STEP)
    row["tokens"], row["end_ps"] = 1, FIRST_BIN_PS * 3 // 2

    bins = accounted(prices, row)
    # 1.5 ms of equal sixths: two thirds of everything lie in the first millisecond.
    sixth = FIRST_BIN_PS // 6
    assert abs(bins.busy_ps[0, 0, 0] - sixth).max() <= 1
    assert bins.busy_ps[0, 0].sum(axis=1).tolist() == [FIRST_BIN_PS, FIRST_BIN_PS // 2]
    assert bins.busy_ps[0, 0].sum(axis=0).tolist() == [FIRST_BIN_PS // 4] * 6
    assert bins.tier_bytes[0, 0, :, 3].tolist() == [400, 200]
    assert bins.steps[0, 0].tolist() == [1, 0]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    replicas=st.integers(1, 3),
    stages=st.integers(1, 3),
    steps=st.integers(1, 40),
    longest_ps=st.sampled_from([10, 10**6, 10**9]),
    sparse=st.booleans(),
)
def test_the_totals_are_the_sums_of_the_steps(
    seed: int, replicas: int, stages: int, steps: int, longest_ps: int, sparse: bool
) -> None:
    prices = priced(replicas, stages, seed, longest_ps)
    prices = thinned(prices, seed) if sparse else prices
    rows = logged(prices, steps, seed, longest_ps)
    bins = accounted(prices, rows, max_bins=8)

    for replica, stage in np.ndindex(replicas, stages):
        mine = rows[rows["replica"] == replica]
        kind = int(prices.stage_class[replica, stage])
        works = [work_ps(prices, kind, row) for row in mine]
        assert bins.busy_ps[replica, stage].sum() == sum(works)
        assert bins.tokens[replica, stage].sum() == mine["tokens"].sum()
        assert bins.steps[replica, stage].sum() == len(mine)
        sent = prices.send_bytes[kind, mine["tokens"]].sum()
        assert bins.send_bytes[replica, stage].sum() == sent
        tier_bytes = prices.collective_bytes[kind, mine["tokens"]].sum(axis=0)
        assert bins.tier_bytes[replica, stage].sum(axis=0).tolist() == tier_bytes.tolist()
        counted = prices.token_counts[kind, mine["tokens"]].sum(axis=0)
        counted += prices.head_counts[kind, mine["emitted"]].sum(axis=0)
        for measure, each in zip(MEASURES, prices.attention_counts[kind], strict=True):
            counted += mine[measure].sum() * each
        assert bins.counts[replica, stage].sum(axis=0).tolist() == counted.tolist()
    assert (bins.busy_ps >= 0).all()
    assert (bins.busy_ps.sum(axis=-1) <= bins.bin_ps).all()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    longest_ps=st.sampled_from([10**3, 10**9]),
)
def test_the_sums_do_not_depend_on_where_windows_are_cut(
    seed: int, cuts: list[int], longest_ps: int
) -> None:
    prices = priced(2, 2, seed, longest_ps)
    rows = logged(prices, 40, seed, longest_ps)

    windows = np.split(rows, sorted(cuts))
    assert equal(accounted(prices, *windows, max_bins=4), accounted(prices, rows, max_bins=4))


def test_joined_bins_hold_what_bins_of_twice_the_length_would() -> None:
    prices = priced(2, 2)
    rows = logged(prices, 200)
    fine, coarse = (accounted(prices, rows, max_bins=bins) for bins in (1000, 8))
    factor = coarse.bin_ps // fine.bin_ps
    assert factor > 1

    padding = -fine.busy_ps.shape[2] % factor
    padded = np.pad(fine.busy_ps, ((0, 0), (0, 0), (0, padding), (0, 0)))
    joined = padded.reshape(2, 2, -1, factor, len(BOUNDS)).sum(axis=3)
    assert np.array_equal(joined, coarse.busy_ps)
    assert coarse.peak_blocks.max() == fine.peak_blocks.max()


def test_bins_are_joined_in_pairs_until_few_enough_reach_the_later_end() -> None:
    # Five bins of 100 ps from 50 on, at most six; the run ends at 1,250, after 1,200. Bins of 100
    # and of 200 would be 12 and 6, which leaves none to spare; of 400 they are three:
    #   1 2 3 4 5  ->  3 7 5  ->  10 5 0, and of peaks the higher:  2 4 5  ->  4 5 0
    def column(*after: int) -> Integers:
        five = np.arange(1, 6).reshape(1, 1, 5, *(1 for _ in after))
        return np.broadcast_to(five, (1, 2, 5, *after))

    bins = Bins(
        bin_ps=100,
        start_ps=50,
        busy_ps=column(len(BOUNDS)),
        tokens=column(),
        steps=column(),
        tier_bytes=column(TIERS),
        send_bytes=column(),
        counts=column(len(COUNTS)),
        kv_block_ns=column()[:, 0],
        peak_blocks=column()[:, 0],
    )

    later = stretched(bins, end_ps=1_250, max_bins=6)

    assert (later.bin_ps, later.start_ps) == (400, 50)
    for name in ("tokens", "steps", "send_bytes"):
        assert getattr(later, name).tolist() == [[[10, 5, 0]] * 2], name
    for name in ("busy_ps", "tier_bytes", "counts"):
        joined = getattr(later, name)
        assert joined.shape == (1, 2, 3, getattr(bins, name).shape[-1]), name
        assert (joined == np.array([10, 5, 0])[:, None]).all(), name
    assert later.kv_block_ns.tolist() == [[10, 5, 0]]
    assert later.peak_blocks.tolist() == [[4, 5, 0]]


@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(0, 100 * FIRST_BIN_PS))
@settings(max_examples=30, deadline=None)
def test_bins_stretched_to_a_later_end_are_those_of_an_account_that_reaches_it(
    seed: int, max_bins: int, later_ps: int
) -> None:
    prices = priced(replicas=2, stages=2, seed=seed)
    steps = logged(prices, 40, seed=seed)
    account = Account(prices, max_bins=max_bins)
    account.add(steps)
    end_ps = int(steps["end_ps"].max()) + later_ps
    short = account.bins()
    account.reach(end_ps)

    assert equal(stretched(short, end_ps, max_bins), account.bins())


@given(
    st.integers(0, 10**6), st.integers(2, 30), st.integers(0, 4), st.sampled_from([10**3, 10**9])
)
@settings(max_examples=20, deadline=None)
def test_an_account_that_knows_how_far_the_run_goes_has_the_same_sums(
    seed: int, max_bins: int, quarters: int, longest_ps: int
) -> None:
    prices = priced(2, 2, seed, longest_ps)
    steps = logged(prices, 40, seed, longest_ps)
    account = Account(prices, max_bins=max_bins)
    account.reach(int(steps["end_ps"].max()) * quarters // 4)
    for window in np.split(steps, 4):
        account.add(window)

    assert equal(account.bins(), accounted(prices, steps, max_bins=max_bins))


def test_stages_of_unlike_attention_are_each_priced_by_their_own() -> None:
    attention = one_of_each()
    attention[1, 0]["layers"] = 3
    prices = replace(priced(1, 3), attention=attention, ahead=False, floor_ps=0 * priced().floor_ps)
    rows = logged(prices, 12)

    busy_ps = accounted(prices, rows).busy_ps[0].sum(axis=(1, 2))
    kinds = prices.stage_class[0].tolist()
    assert busy_ps.tolist() == [sum(work_ps(prices, kind, row) for row in rows) for kind in kinds]


def test_the_number_of_bins_is_at_most_the_requested_one() -> None:
    prices = priced()
    rows = logged(prices, 300)

    bins = accounted(prices, rows, max_bins=10)
    end_ps = rows["end_ps"].max()
    assert 5 <= bins.busy_ps.shape[2] <= 10
    assert bins.busy_ps.shape[2] == -(-end_ps // bins.bin_ps)


def test_time_that_only_the_floor_explains_is_bound_by_lpddr() -> None:
    prices = priced()
    slow = replace(prices, floor_ps=prices.floor_ps + 10**10)
    lpddr = BOUNDS.index("lpddr")
    row = logged(slow, 1)

    other = work_ps(replace(prices, floor_ps=0 * prices.floor_ps), 1, row[0])
    layers_ps = other - prices.head_ps[1, row["emitted"][0]]
    expected = slow.floor_ps[1, row["tokens"][0]] - layers_ps
    priced_lpddr = (
        prices.linear_by_bound_ps[1, row["tokens"][0], lpddr]
        + prices.head_by_bound_ps[1, row["emitted"][0], lpddr]
    )
    assert accounted(slow, row).busy_ps[..., lpddr].sum() == expected + priced_lpddr


def test_kv_blocks_are_held_until_the_next_start_or_the_last_end() -> None:
    prices = replace(priced(), floor_ps=np.full((CLASSES, TOKENS + 1), 10**10))
    rows = np.zeros(2, STEP)
    rows["tokens"], rows["used_blocks"] = 1, [10, 4]
    rows["start_ps"], rows["end_ps"] = [0, 30 * 10**9], [10**10, 40 * 10**9]

    bins = accounted(prices, rows)
    # 10 blocks for 10 ms, none for 20, 4 for 10.
    assert bins.kv_block_ns[0].tolist() == [10 * 10**6] * 10 + [0] * 20 + [4 * 10**6] * 10
    assert bins.peak_blocks[0].tolist() == [10] * 10 + [0] * 20 + [4] * 10


@pytest.mark.parametrize(
    ("column", "change_ps"), [("end_ps", 1), ("end_ps", -1), ("start_ps", -1), ("start_ps", 10**12)]
)
def test_a_log_that_disagrees_with_the_prices_is_refused(column: str, change_ps: int) -> None:
    prices = priced(1, 2)
    rows = logged(prices, 5, pause_ps=1)
    rows[column][3] += change_ps

    with pytest.raises(AccountError, match="does not agree with the prices") as caught:
        accounted(prices, rows)
    assert caught.value.exit_code == 1


def test_an_empty_log_is_one_idle_bin() -> None:
    bins = accounted(priced(), np.zeros(0, STEP))

    assert bins.busy_ps.shape == (1, 1, 1, len(BOUNDS))
    assert not bins.busy_ps.any()


@pytest.mark.parametrize("max_bins", [0, 1, 1001])
def test_too_many_or_too_few_bins_are_refused(max_bins: int) -> None:
    with pytest.raises(ValueError, match=f"2 to 1000, got {max_bins}"):
        Account(priced(), max_bins=max_bins)


@given(st.integers(0, 10**6), st.integers(0, 10**16), st.integers(2, 30))
@settings(max_examples=20, deadline=None)
def test_silence_before_the_window_changes_no_bin(seed: int, later_ps: int, max_bins: int) -> None:
    prices = priced(2, 2, seed)
    rows = logged(prices, 40, seed)
    at_once = accounted(prices, rows, max_bins=max_bins)
    rows["start_ps"] += later_ps
    rows["end_ps"] += later_ps
    account = Account(prices, max_bins=max_bins, begin_ps=later_ps)
    account.add(rows)

    assert equal(replace(account.bins(), start_ps=0), at_once)
    assert account.bins().start_ps == later_ps


@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from([10**7, 10**9]))
@settings(max_examples=20, deadline=None)
def test_a_window_that_begins_at_an_edge_leaves_out_the_bins_before(
    seed: int, left_out: int, longest_ps: int
) -> None:
    prices = priced(2, 2, seed, longest_ps)
    rows = logged(prices, 40, seed, longest_ps)
    whole = accounted(prices, rows)
    part = Account(prices, begin_ps=left_out * whole.bin_ps)
    for window in np.split(rows, 4):
        part.add(window)
    bins = part.bins()
    assert bins.bin_ps <= whole.bin_ps

    inside = whole.busy_ps[:, :, left_out:].sum(axis=2)
    assert np.array_equal(bins.busy_ps.sum(axis=2), inside)
    assert np.array_equal(bins.counts.sum(axis=2), whole.counts[:, :, left_out:].sum(axis=2))
    assert np.array_equal(bins.steps.sum(axis=2), whole.steps[:, :, left_out:].sum(axis=2))
    held = whole.kv_block_ns[:, left_out:].sum(axis=1)
    assert np.array_equal(bins.kv_block_ns.sum(axis=1), held)


def test_of_work_that_the_window_begins_in_its_later_part_counts() -> None:
    prices = replace(priced(), floor_ps=np.full((CLASSES, TOKENS + 1), 10**10))
    rows = np.zeros(1, STEP)
    rows["tokens"], rows["used_blocks"], rows["end_ps"] = 1, 10, 10**10

    account = Account(prices, begin_ps=4 * 10**9)
    account.add(rows)
    bins = account.bins()
    # 10 ms of work, of which 6 ms lie behind the fourth.
    assert bins.busy_ps.sum() == 6 * 10**9
    assert bins.kv_block_ns[0].tolist() == [10 * 10**6] * 6
    assert not bins.steps.any()
