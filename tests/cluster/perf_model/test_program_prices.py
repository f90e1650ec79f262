from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.attention import WIDTH, attention_ps
from cluster.perf_model.memory.placement import uniform
from cluster.perf_model.prices import PriceError, PriceInputs, price_tables, steady_decode
from cluster.perf_model.prices.program import (
    RECORDED,
    ProgramPrice,
    price_program,
    program_inputs,
    work_counts,
)
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_PASSES, PriceTables
from cluster.scenario.formats import Formats
from corsair_common.units import Integers
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan
from workloads.program import Batch, Program, decode_steps, generate_program, program_of
from workloads.program.batch import Steps

Inputs: TypeAlias = Callable[..., PriceInputs]
LLAMA = "llama-3.1-8b"
TOKENS = 96


@pytest.fixture
def inputs(hand_map: Callable[..., Any]) -> Inputs:
    """Corsair's catalogue on the map by hand."""

    def build(
        model: str = LLAMA, tensor: int = 4, pipeline: int = 2, expert: int = 1, **more: Any
    ) -> PriceInputs:
        corsair = load_hardware("corsair")
        figures = {name: corsair[name] for name in corsair.figures}
        replicas = more.pop("replicas", 1)
        cards = replicas * tensor * pipeline
        names = {"weights": "mxint8", "activations": "mxint8", "kv": "mxint8", "wire": "fp16"}
        formats = names | more.pop("formats", {})
        mode = more.pop("memory_mode", "performance")
        supplied = PriceInputs(
            hardware=figures | more.pop("figures", {}),
            routes=hand_map(cards),
            model=load_model(model),
            plan=Plan(
                tensor_parallel_size=tensor,
                pipeline_parallel_size=pipeline,
                expert_parallel_size=expert,
                replicas=replicas,
            ),
            formats=Formats(**{use: get_format(name) for use, name in formats.items()}),
            cards=np.arange(cards).reshape(replicas, pipeline, tensor),
            max_tokens=TOKENS,
            max_rows=32,
            max_context=8192,
            **more,
        )
        return replace(supplied, residency=uniform(mode, supplied.model, supplied.plan))

    return build


def written(supplied: PriceInputs, steps: Steps) -> Program:
    return generate_program(program_inputs(supplied), steps)


def measures(tables: PriceTables, batch: Batch) -> Integers:
    """The sums by which the serving engine knows a batch."""
    sums = np.zeros((len(tables.kinds), WIDTH), np.int64)
    for kind, (window, clocks, load, picked) in enumerate(tables.kinds.tolist()):
        decode, chunks = batch.met(window)
        if picked:
            decode, chunks = batch.met_picks(picked, together=False)
        sums[kind, DECODE_BLOCKS] = decode // 64
        passes = -(-batch.chunk_tokens * clocks // load)
        sums[kind, PREFILL_PASSES] = chunks // 64 * passes
    return sums.ravel()


def stage_ps(tables: PriceTables, batch: Batch, stage: int) -> int:
    """What the serving engine lets a stage work on a batch, without its LPDDR floor."""
    kind = tables.stage_class[0, stage]
    attention = attention_ps(tables.attention[kind], measures(tables, batch))
    table = tables.linear_ps[kind] + tables.collective_ps[kind]
    return int(table[batch.tokens] + tables.head_ps[kind, batch.emitted] + attention)


def chain_ps(program: Program, price: ProgramPrice, card: int) -> int:
    """What a card does one after the other: all but its sends, receives, loads and the host."""
    own = program.operations
    chain = (own.rank == card) & (own.stream <= 1)
    return int(price.duration_ps[chain].sum())


DECODE = Batch(decode_contexts=(100, 1024, 2049, 64, 65))
PREFILL = Batch(chunk_tokens=48, chunk_contexts=(48, 4000), last_chunks=1)
MIXED = Batch(decode_contexts=(7, 700), chunk_tokens=90, chunk_contexts=(500,))


@pytest.mark.parametrize("batch", [DECODE, PREFILL, MIXED], ids=["decode", "prefill", "mixed"])
@pytest.mark.parametrize(
    ("model", "tensor", "pipeline", "expert"),
    [
        (LLAMA, 4, 2, 1),
        (LLAMA, 1, 1, 1),
        ("llama-3.3-70b", 8, 3, 1),
        ("gpt-oss-20b", 2, 2, 1),
        ("gpt-oss-20b", 4, 1, 2),
        ("mixtral-8x7b", 4, 2, 4),
        ("qwen3-30b-a3b", 4, 1, 1),
        ("deepseek-v3", 4, 2, 4),
        ("deepseek-v3", 4, 1, 1),
    ],
)
def test_the_operations_of_a_batch_at_a_stage_sum_to_its_table_entry(
    inputs: Inputs, model: str, tensor: int, pipeline: int, expert: int, batch: Batch
) -> None:
    supplied = inputs(model, tensor, pipeline, expert)
    tables = price_tables(supplied)

    program = written(supplied, [[batch]])
    price = price_program(program, supplied)

    for stage in range(pipeline):
        for card in range(stage * tensor, (stage + 1) * tensor):
            assert chain_ps(program, price, card) == stage_ps(tables, batch, stage)


@pytest.mark.parametrize("formats", [{"wire": "mxint8"}, {"weights": "mxint4", "kv": "mxint4"}])
def test_the_sum_holds_in_other_formats_and_for_skewed_experts(
    inputs: Inputs, formats: dict[str, str]
) -> None:
    supplied = inputs("gpt-oss-20b", 4, 1, 4, formats=formats, expert_skew=1.0, seed=7)
    tables = price_tables(supplied)

    program = written(supplied, [[MIXED]])

    assert chain_ps(program, price_program(program, supplied), 3) == stage_ps(tables, MIXED, 0)


def ends_ps(program: Program, price: ProgramPrice) -> Integers:
    """[op] end of each operation without contention, computed without the engine.

    Rows of one rank and stream follow each other; a collective begins when all of its ranks are
    there, a transfer when both of its ends are.
    """
    whole, durations = program.expanded(), price.block(program, 0, program.repeats)
    own, dispatches = whole.operations, np.tile(price.dispatch_ps, program.repeats)
    ends = np.zeros(len(own), np.int64)
    free: dict[tuple[int, int], int] = {}
    open_calls: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for row in range(len(own)):
        queue = (int(own.rank[row]), int(own.stream[row]))
        waits = own.deps[own.dep_offsets[row] : own.dep_offsets[row + 1]]
        start = max([free.get(queue, 0), *(int(ends[dep]) for dep in waits)])
        ends[row] = free[queue] = start + int(durations[row])
        kind = whole.word("kind", own.kind[row])
        members = 1
        if kind in ("send", "recv"):
            pair = sorted([int(own.rank[row]), int(own.peer[row])])
            key, members = (*pair, int(own.tag[row])), 2
        elif kind == "collective" and own.group[row] >= 0:
            key, members = (int(own.group[row]),), len(whole.groups[own.group[row]])
        if members == 1:
            continue
        calls = open_calls.setdefault(key, [])
        calls.append((row, start + int(dispatches[row])))
        if len(calls) == members:
            end = max(there for _, there in calls) + int(durations[row] - dispatches[row])
            for member, _ in open_calls.pop(key):
                ends[member] = free[int(own.rank[member]), int(own.stream[member])] = end
    return ends


def back_ps(program: Program, ends: Integers, slot: int) -> list[int]:
    """When the first stage has each step's token of a slot."""
    own = program.expanded().operations
    rows = (own.rank == 0) & (own.microbatch == slot)
    return [int(ends[rows & (own.step == step)].max()) for step in range(program.steps)]


@pytest.mark.parametrize(
    ("model", "tensor", "pipeline", "expert", "mode"),
    [
        (LLAMA, 4, 1, 1, "performance"),
        (LLAMA, 2, 4, 1, "performance"),
        (LLAMA, 2, 2, 1, "capacity"),
        ("gpt-oss-20b", 2, 2, 2, "performance"),
        ("deepseek-v3", 4, 2, 4, "capacity"),
    ],
)
def test_one_slot_in_flight_takes_the_serving_step_to_the_picosecond(
    inputs: Inputs, model: str, tensor: int, pipeline: int, expert: int, mode: str
) -> None:
    overhead = {"host.overhead_s": 3e-6}
    supplied = inputs(model, tensor, pipeline, expert, memory_mode=mode, figures=overhead)
    steps = decode_steps(batch=6, context=1024, steps=3, slots=1, growing=False)

    program = written(supplied, steps)
    back = back_ps(program, ends_ps(program, price_program(program, supplied)), slot=0)

    expected = steady_decode(price_tables(supplied), batch=6 * pipeline, context=1024).loop_ps
    assert np.diff([0, *back]).tolist() == [expected] * 3


def test_a_full_pipeline_settles_to_the_cycle_of_the_closed_form(inputs: Inputs) -> None:
    supplied = inputs(LLAMA, 2, 4)
    steps = decode_steps(batch=24, context=1024, steps=6, slots=4, growing=False)

    program = written(supplied, steps)
    ends = ends_ps(program, price_program(program, supplied))

    cycle = steady_decode(price_tables(supplied), batch=24, context=1024).cycle_ps
    assert [np.diff(back_ps(program, ends, slot))[-1] for slot in range(4)] == [cycle] * 4


def test_steps_grow_slower_as_contexts_fill_blocks(inputs: Inputs) -> None:
    supplied = inputs()
    steps = decode_steps(batch=64, context=1023, steps=4, slots=1)

    program = written(supplied, steps)
    price = price_program(program, supplied)

    repeats = [int(price.block(program, r, r + 1).sum()) for r in range(4)]
    whole = price_program(program.expanded(), supplied)
    assert program.repeats == 4
    assert repeats[0] == repeats[1] < repeats[2] == repeats[3]  # 16 blocks | 17
    np.testing.assert_array_equal(price.block(program, 0, 4), whole.duration_ps)
    assert not price.by_columns.any()


def test_a_recorded_duration_wins_and_has_no_bound(inputs: Inputs) -> None:
    supplied = inputs(tensor=1, pipeline=1)
    columns = {"rank": [0, 0], "kind": ["vector"] * 2, "flop": [10**6] * 2}

    price = price_program(program_of(columns | {"duration_ps": [77, -1]}), supplied)

    assert price.duration_ps[0] == 77
    assert price.duration_ps[1] > price.dispatch_ps[1] > 0
    assert (price.bound[0], price.dispatch_ps[0]) == (RECORDED, 0)


def test_an_edited_size_is_priced_as_written(inputs: Inputs) -> None:
    supplied = inputs(tensor=1, pipeline=1)
    program = written(supplied, [[DECODE]])
    own = program.operations
    down = np.flatnonzero(own.name == program.words["name"].index("gate/up"))[0]
    wide = own.n.copy()
    wide[down] *= 16
    edited = replace(program, operations=replace(own, n=wide))

    before, after = price_program(program, supplied), price_program(edited, supplied)

    assert np.flatnonzero(after.by_columns).tolist() == [down]
    dispatch_ps = before.dispatch_ps[down]
    assert after.duration_ps[down] > 8 * (before.duration_ps[down] - dispatch_ps) + dispatch_ps > 0
    others = np.arange(len(own)) != down
    np.testing.assert_array_equal(after.duration_ps[others], before.duration_ps[others])


def test_foreign_work_is_priced_by_its_bytes_and_flop(inputs: Inputs) -> None:
    slow = {"chiplet.lpddr_bandwidth_bytes_per_s": 1e9, "chiplet.lpddr_efficiency": 1.0}
    supplied = inputs(tensor=2, pipeline=1, figures=slow)
    columns = {
        "rank": [0, 0, 0, 1],
        "kind": ["load", "matmul", "collective", "collective"],
        "collective": ["", "", "all_reduce", "all_reduce"],
        "group": [-1, -1, 0, 0],
        "payload_bytes": [0, 0, 4096, 4096],
        "read_bytes": [8000, 0, 0, 0],
        "flop": [0, 2_400_000_000, 0, 0],
    }

    price = price_program(program_of(columns, [[0, 1]]), supplied)
    dispatch = price.dispatch_ps[1]

    assert price.duration_ps[0] == 1_000_000  # 1,000 bytes a chiplet at 1 GB/s
    assert price.duration_ps[1] - dispatch == pytest.approx(1_000_000, rel=1e-3)  # 2,400 TFLOPS
    assert price.duration_ps[2] == price.duration_ps[3] > dispatch
    assert price.tier_bytes[2].sum() > 0


def test_replicas_cost_alike_where_their_links_do(inputs: Inputs) -> None:
    supplied = inputs(LLAMA, 2, 2, replicas=2)
    program = written(supplied, [[DECODE]])

    price = price_program(program, supplied)

    half = len(program) // 2
    np.testing.assert_array_equal(price.duration_ps[:half], price.duration_ps[half:])


def test_more_ranks_than_cards_are_refused(inputs: Inputs) -> None:
    program = program_of({"rank": [0, 1, 2], "kind": ["vector"] * 3})

    with pytest.raises(PriceError, match="3 ranks, the plan 2"):
        price_program(program, inputs(tensor=2, pipeline=1))


def test_a_decode_step_multiplies_every_weight_of_the_model_once_per_token(inputs: Inputs) -> None:
    supplied = inputs(LLAMA, 4, 2)
    program = written(supplied, [[Batch(decode_contexts=(64,) * 3)]])
    own = program.operations

    counts = work_counts(program, own, supplied)

    # Llama-3.1-8B: 32 layers of q, k, v, o (2 x 4096 + 2 x 1024 wide) and three of 14,336; the head
    layer = 4096 * (2 * 4096 + 2 * 1024) + 3 * 4096 * 14336
    weights = 32 * layer + 4096 * 128256
    cached = 32 * 2 * 32 * 128 * 64  # keys and values, 32 query heads, one block of 64 tokens
    assert counts.macs.sum() == 3 * (weights + cached)
    assert counts.near_bytes[own.kind == 0].sum() == weights * 65 // 64
    assert counts.far_bytes.sum() == 0


@pytest.mark.parametrize("prefetch", [0.0, 8e6])
def test_weights_in_lpddr_are_read_from_there_once(inputs: Inputs, prefetch: float) -> None:
    figures = {"chiplet.prefetch_bytes": prefetch}
    supplied = inputs(LLAMA, 2, 1, memory_mode="capacity", figures=figures)
    program = written(supplied, [[DECODE]])
    own = program.operations

    counts = work_counts(program, own, supplied)

    assert counts.far_bytes.sum() == own.read_bytes[own.kind == 0].sum()
