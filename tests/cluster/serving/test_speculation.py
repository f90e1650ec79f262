"""Speculative decoding: by hand, by its closed form, and as vLLM's own scheduler did it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.tables import PriceTables, Records
from cluster.scenario.speculative import DRAWS, draws_of, geometric, rate_of
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served, Speculation
from cluster.serving.reference import serve_reference
from corsair_common.units import Integers

Engine: TypeAlias = Callable[..., Served]
RunAndLog: TypeAlias = Callable[[Engine, tuple[object, ...]], tuple[Served, Records]]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]
RECORDED = json.loads(Path(__file__).with_name("vllm_speculation.json").read_text())


def two_drafts(accepted: list[int], **others: Any) -> Speculation:
    return Speculation(num_speculative_tokens=2, accepted=np.array(accepted), **others)


def test_tokens_of_a_row_come_together_and_rejected_drafts_are_computed_again(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # A prompt of 4, an answer of 6, two drafts; every step lasts 10.
    #    0  4 tokens: the first of the answer at 10
    #   10  1 + 2 tokens, both drafts right: 4 of the answer at 20, 8 known, 7 computed
    #   20  1 + 2 tokens, none right: 5 at 30; 10 were computed, 8 count
    #   30  1 + 2 tokens, one right: the sixth at 40, and no seventh
    limits = replace(roomy, max_num_seqs=3, speculation=two_drafts([2, 0, 1]))

    served, steps = run_and_log(
        engine, (make_arrivals((0, 4, 6)), constant_tables(stage_ps=[10]), limits)
    )

    assert served.first_token_ps.tolist() == [10]
    assert served.finish_ps.tolist() == [40]
    assert steps["tokens"].tolist() == [4, 3, 3, 3]
    assert steps["prefill_tokens"].tolist() == [4, 0, 0, 0]
    assert steps["emitted"].tolist() == [1, 3, 3, 3]
    assert steps["drafting"].tolist() == [1, 1, 1, 1]
    assert steps["finished"].tolist() == [0, 0, 0, 1]
    assert steps["used_blocks"].tolist() == [2, 4, 5, 6]  # of 2 tokens: 4, 7, 10 and 11 of them
    assert np.flatnonzero(served.itl_count).tolist() == [10]
    assert served.itl_count.sum() == 3  # one for each row, as messages of a stream
    assert served.accepted_count.tolist() == [1, 1, 1]
    assert served.draft_tokens == 6


@pytest.mark.parametrize(
    ("apart", "first_ps", "finish_ps"), [(False, [17, 34], [34, 34]), (True, [10, 34], [34, 34])]
)
def test_drafting_keeps_the_last_stage_busy_or_is_waited_for_on_cards_of_its_own(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    apart: bool,
    first_ps: list[int],
    finish_ps: list[int],
) -> None:
    # Steps of 10, drafts of 7. Request 1 arrives at 12. On the same cards:
    #    0  10 + 7: the first token at 17;   17  both requests, 10 + 7
    # On others, 3 away and 4 back:
    #    0  10: the first token at 10; at 13 its drafts begin, at 20 they end, at 24 they are back
    #   24  10: both requests
    tables = replace(
        constant_tables(stage_ps=[10, 7]),
        send_ps=np.array([[3] * 17, [4] * 17]),
        draft_stages=1,
        draft_apart=apart,
    )
    limits = replace(roomy, max_num_seqs=3, speculation=two_drafts([2]))

    served = engine(make_arrivals((0, 4, 4), (12, 2, 1)), tables, limits)

    assert served.first_token_ps.tolist() == first_ps
    assert served.finish_ps.tolist() == finish_ps


def test_drafts_that_are_never_right_and_cost_nothing_change_no_time(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    problem = make_arrivals((0, 4, 6), (7, 9, 3), (30, 2, 1)), constant_tables(stage_ps=[10])
    plain = replace(roomy, max_num_seqs=3)

    off, on = (
        engine(*problem, limits) for limits in (plain, replace(plain, speculation=two_drafts([0])))
    )

    for name in ("first_scheduled_ps", "first_token_ps", "finish_ps", "itl_count"):
        assert getattr(off, name).tolist() == getattr(on, name).tolist()
    assert on.accepted_count.tolist() == [7, 0, 0]  # 5 + 2 + 0 tokens after the first


def test_one_request_at_a_constant_rate_takes_what_the_closed_form_says() -> None:
    # Leviathan et al. 2023: a row emits (1 - a^(k + 1)) / (1 - a) tokens in the mean.
    rate, drafts, verify_ps, draft_ps, output = 0.7, 4, 1000, 90, 20001
    accepted = draws_of(geometric(rate, drafts), seed=3)
    expected = (1 - rate ** (drafts + 1)) / (1 - rate)
    assert abs(float(np.mean(1 + accepted)) - expected) <= drafts / DRAWS
    assert rate_of(expected, drafts) == pytest.approx(rate, abs=1e-12)

    served = run_alone(accepted, drafts, output, verify_ps, draft_ps)

    rows = 1 + np.searchsorted(np.cumsum(1 + np.tile(accepted, 3)), output - 1)
    took_ps = int(served.finish_ps[0] - served.first_token_ps[0])
    assert took_ps == rows * (verify_ps + draft_ps)
    mean = (output - 1) / rows
    assert mean == pytest.approx(expected, rel=0.01)  # 7,200 rows: a standard error of 0.6 %


def run_alone(
    accepted: Integers, drafts: int, output: int, verify_ps: int, draft_ps: int
) -> Served:
    from benchmarks.linear_prices import linear_prices

    linear_ps = np.array([[verify_ps], [draft_ps]]) * (np.arange(9) > 0)
    tables = linear_prices(linear_ps, 8, np.array([[0, 1]]))
    speculation = Speculation(num_speculative_tokens=drafts, accepted=accepted)
    limits = Limits(
        max_num_seqs=1, max_num_batched_tokens=8, block_size=64, blocks=999, max_model_len=30000,
        speculation=speculation,
    )  # fmt: skip
    arrivals = recorded_arrivals(
        {"arrival_ps": [0], "prompt_tokens": [1], "output_tokens": [output], "first_draw": [0]}
    )
    return serve(arrivals, replace(tables, draft_stages=1), limits)


def recorded_arrivals(problem: dict[str, Any]) -> Arrivals:
    keys = problem.get("keys") or [[] for _ in problem["arrival_ps"]]
    flat = np.array([key for own in keys for key in own], np.int64)
    columns = ("arrival_ps", "prompt_tokens", "output_tokens", "first_draw")
    return Arrivals(
        **{name: np.array(problem[name], np.int64) for name in columns},
        router_choice=np.zeros(len(keys), np.int64),
        key_offsets=np.cumsum([0, *map(len, keys)]).astype(np.int64),
        keys=flat,
        key_count=int(flat.max(initial=-1)) + 1,
    )


@pytest.mark.parametrize("serving", [serve_reference, serve], ids=["reference", "kernel"])
@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_every_column_and_step_is_that_of_vllms_scheduler(
    serving: Engine, number: int, run_and_log: RunAndLog
) -> None:
    # Recorded with vLLM 0.33.0: its Scheduler, stepped with a virtual clock, one stage, drafts for
    # every request that emits, of which so many are accepted as was drawn.
    from benchmarks.linear_prices import linear_prices

    problem = RECORDED[number]
    drawn = np.array(problem["speculation"].pop("accepted", problem.get("draws")))
    problem["draws"] = drawn.tolist()
    limits = Limits(
        **problem["limits"], speculation=Speculation(**problem["speculation"], accepted=drawn)
    )
    rows = limits.max_num_seqs * (1 + limits.drafts)
    tables = linear_prices(np.array([problem["step_ps"]]), rows, np.zeros((1, 1), np.int64))

    served, steps = run_and_log(serving, (recorded_arrivals(problem), tables, limits))

    for name, column in problem["expected"].items():
        assert getattr(served, name).tolist() == column, name
    found = zip(*(steps[name].tolist() for name in ("start_ps", "end_ps", "tokens")), strict=True)
    assert [list(row) for row in found] == problem["steps"]
    assert served.itl_count.sum() == problem["itl"]
    assert served.accepted_count.tolist() == problem["accepted_count"]
    assert served.draft_tokens == problem["draft_tokens"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"async_scheduling": True}, "without async_scheduling"),
        ({"speculation": two_drafts([])}, "no draws"),
        ({"speculation": two_drafts([3])}, "accepted\\[0\\] is 3, allowed is 0 to 2"),
        ({"speculation": two_drafts([0], num_lookahead_tokens=9)}, "num_lookahead_tokens"),
    ],
)
def test_speculation_that_is_not_modelled_is_refused(
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    changed: dict[str, Any],
    said: str,
) -> None:
    limits = replace(roomy, max_num_seqs=3, **({"speculation": two_drafts([1])} | changed))

    with pytest.raises(ValueError, match=said):
        serve(make_arrivals((0, 4, 4)), constant_tables(stage_ps=[10]), limits)
