from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.collectives import CARD_TIERS
from cluster.perf_model.devices.dimc import PARTS
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.energy import attribution
from cluster.perf_model.energy.attribution import RequestColumns, SlotJoules
from cluster.perf_model.energy.coefficients import Joules
from cluster.perf_model.tables import MEASURES, STEP, PriceTables, Records
from cluster.serving.energy_attribution import attribution_columns
from cluster.serving.engine import serve
from topology.route import LEVELS

TIERS = (*CARD_TIERS, *LEVELS)

WHOLE = (len(TIERS) + 1, len(PARTS))


def one_joule_each(stages: int = 1, replicas: int = 1) -> Joules:
    """Every count is a joule, on two cards a stage; bytes are free."""
    count_j = np.zeros((len(COUNTS), len(PARTS)))
    count_j[:, PARTS.index("simd")] = 0.5
    return Joules(
        parts=PARTS,
        count_j=count_j,
        link_j=np.zeros((replicas, stages, *WHOLE)),
        static_w=60.0,
        cards_per_stage=2,
    )


def counting(prices: PriceTables, seed: int) -> PriceTables:
    """The tables with counts drawn at random, none where there is no work."""
    rng = np.random.default_rng(seed)
    classes, tokens = prices.linear_ps.shape
    token_counts = rng.integers(1, 1000, (classes, tokens, len(COUNTS)))
    head_counts = rng.integers(1, 1000, (*prices.head_ps.shape, len(COUNTS)))
    token_counts[:, 0], head_counts[:, 0] = 0, 0
    return replace(
        prices,
        token_counts=token_counts,
        head_counts=head_counts,
        attention_counts=rng.integers(0, 1000, (classes, len(MEASURES), len(COUNTS))),
        collective_bytes=np.zeros((classes, tokens, len(TIERS)), np.int64),
    )


def total_j(prices: PriceTables, log: Records) -> float:
    """All steps at all stages, by the definition of the counts."""
    spent = 0
    for row in log:
        for number in prices.stage_class[row["replica"]]:
            spent += prices.token_counts[number, row["tokens"]].sum()
            spent += prices.head_counts[number, row["emitted"]].sum()
            for measure, each in zip(MEASURES, prices.attention_counts[number], strict=True):
                spent += int(row[measure]) * each.sum()
    return float(spent)


def test_every_request_pays_for_its_own_tokens(
    constant_tables: Callable[..., PriceTables],
) -> None:
    prices = constant_tables([10])
    per_token = np.zeros((1, 17, len(COUNTS)), np.int64)
    per_token[0, :, 0] = np.arange(17)
    prices = replace(counting(prices, 0), token_counts=per_token)
    prices = replace(prices, head_counts=0 * prices.head_counts)
    shares = SlotJoules(prices, one_joule_each(), np.arange(1))
    # A prompt of 10, then one of 5 beside the first's second token; both go on; the second alone.
    log = np.zeros(4, STEP)
    log["tokens"], log["prefill_tokens"] = [10, 6, 2, 1], [10, 5, 0, 0]
    log["emitted"], log["end_ps"] = [1, 2, 2, 1], [10, 20, 30, 40]
    shares.add(log)

    spent = shares.of(
        RequestColumns(
            replica=np.array([0, -1, 0]),
            slot=np.array([0, -1, 0]),
            first_scheduled_ps=np.array([0, -1, 10]),
            first_token_ps=np.array([10, -1, 20]),
            finish_ps=np.array([30, -1, 40]),
            prefilled=np.array([10, 99, 5]),
        )
    )
    assert spent.tolist() == [12.0, 0.0, 7.0]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_requests_share_out_all_that_steps_spend_whatever_happens_to_them(
    data: st.DataObject,
    serving_problems: st.SearchStrategy[Any],
    run_and_log: Callable[..., Any],
) -> None:
    arrivals, tables, limits = data.draw(serving_problems)
    served, log = run_and_log(serve, (arrivals, tables, limits))
    prices = counting(tables, data.draw(st.integers(0, 99)))
    joules = one_joule_each(prices.stages, prices.replicas)

    def shared(*windows: Records) -> Any:
        shares = SlotJoules(prices, joules, np.arange(prices.replicas))
        for window in windows:
            shares.add(window)
        return shares.of(attribution_columns(served, arrivals))

    spent = shared(log)
    assert spent.sum() == pytest.approx(total_j(prices, log), rel=1e-9)
    assert (spent >= 0).all()
    assert not spent[served.status != 0].any()
    cuts = data.draw(st.lists(st.integers(0, len(log)), max_size=4))
    assert np.array_equal(shared(*np.split(log, sorted(cuts))), spent)


def test_forgotten_points_move_little_and_lose_nothing(
    constant_tables: Callable[..., PriceTables], monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = counting(constant_tables([10]), 0)
    log = np.zeros(2000, STEP)
    log["tokens"] = log["emitted"] = 2
    log["end_ps"] = 10 * (1 + np.arange(2000))
    requests = RequestColumns(
        replica=np.zeros(2, np.int64),
        slot=np.zeros(2, np.int64),
        first_scheduled_ps=np.array([0, 5]),
        first_token_ps=np.array([0, 5]),
        finish_ps=np.array([7777, 20000]),
        prefilled=np.ones(2, np.int64),
    )

    def spent() -> Any:
        shares = SlotJoules(prices, one_joule_each(), np.arange(1))
        shares.add(log)
        return shares.of(requests)

    exact = spent()
    monkeypatch.setattr(attribution, "POINTS", 64)
    coarse = spent()
    assert coarse.sum() == pytest.approx(exact.sum(), rel=1e-12)
    assert coarse == pytest.approx(exact, rel=0.01)
