from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.formats import Format, get_format
from workloads.model import Model, load_model
from workloads.plan import Plan, PlanError
from workloads.program import (
    Batch,
    Program,
    ProgramError,
    ProgramInputs,
    decode_steps,
    generate_program,
    mixed_steps,
    prefill_steps,
    program_of,
)
from workloads.program.check import check_program
from workloads.program.columns import ROW_COLUMNS

EIGHT, HALF = get_format("mxint8"), get_format("fp16")


@dataclass(frozen=True)
class Formats:
    weights: Format = EIGHT
    activations: Format = EIGHT
    kv: Format = EIGHT
    wire: Format = HALF


def inputs(
    model: str = "llama-3.1-8b", tensor: int = 1, pipeline: int = 1, expert: int = 1, **more: Any
) -> ProgramInputs:
    plan = Plan(
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
        expert_parallel_size=expert,
        replicas=more.pop("replicas", 1),
    )
    return ProgramInputs(
        model=load_model(model), plan=plan, formats=Formats(), max_tokens=128, **more
    )


def decode(given: ProgramInputs, *, batch: int = 4, steps: int = 1, context: int = 100) -> Program:
    slots = given.plan.pipeline_parallel_size
    return generate_program(
        given, decode_steps(batch=batch, context=context, steps=steps, slots=slots)
    )


def named(program: Program, *names: str) -> Any:
    """Rows of the template with one of these names."""
    codes = [program.words["name"].index(name) for name in names]
    return np.flatnonzero(np.isin(program.operations.name, codes))


def words(program: Program, column: str, rows: Any) -> list[str]:
    return [program.word(column, code) for code in getattr(program.operations, column)[rows]]


def deps(program: Program, row: int) -> list[int]:
    own = program.operations
    waits: list[int] = own.deps[own.dep_offsets[row] : own.dep_offsets[row + 1]].tolist()
    return waits


def test_a_dense_layer_runs_the_operations_that_are_priced() -> None:
    program = decode(inputs())

    rows = np.flatnonzero(program.operations.layer == 0)

    assert words(program, "name", rows) == [
        *("norm+quant", "QKV", "RoPE", "QK^T", "softmax", "PV", "V tail", "merge", "O"),
        *("all-reduce", "residual+norm+quant", "gate/up", "activation x mul", "down"),
        *("all-reduce+residual", "residual"),
    ]


def test_products_have_the_sizes_of_a_cards_share() -> None:
    # Llama-3.1-8B on four cards: 8 of 32 query heads, 2 of 8 KV heads, 3,584 of 14,336 columns
    program = decode(inputs(tensor=4), batch=5)
    own = program.operations

    sizes = {
        name: (own.m[row], own.k[row], own.n[row])
        for name in ("QKV", "O", "gate/up", "down", "LM head")
        for row in named(program, name)[:1]
    }

    assert sizes == {
        "QKV": (5, 4096, (8 + 2 + 2) * 128),
        "O": (5, 8 * 128, 4096),
        "gate/up": (5, 4096, 2 * 3584),
        "down": (5, 3584, 4096),
        "LM head": (5, 4096, 128_256 // 4),
    }


def test_a_product_counts_two_flop_a_multiplication_and_reads_its_weights_once() -> None:
    program = decode(inputs(), batch=3)
    own, row = program.operations, named(decode(inputs(), batch=3), "down")[0]

    assert own.flop[row] == 2 * 3 * 14336 * 4096
    assert own.read_bytes[row] == 14336 * 4096 * 65 // 64  # 64 bytes and a scale for each 64


def test_decoding_reads_the_cache_in_whole_blocks() -> None:
    # contexts of 100 tokens lie in two blocks of 64; 8 KV heads of 128, MXINT8 is 65 bytes per 64
    program = decode(inputs(), batch=3, context=100)
    own = program.operations
    row = named(program, "QK^T")[0]

    assert own.context_tokens[row] == 3 * 128
    assert own.read_bytes[row] == 3 * 128 * 8 * 128 * 65 // 64
    assert own.flop[row] == 2 * 32 * 128 * 3 * 128
    assert (own.m[row], own.n[row]) == (0, 0)


def test_chunks_and_decode_rows_are_distinguished_in_a_mixed_batch() -> None:
    batch = Batch(decode_contexts=(64, 65), chunk_tokens=10, chunk_contexts=(130,))
    program = generate_program(inputs(), [[batch]])
    own, row = program.operations, 0
    row = named(program, "PV")[0]

    assert words(program, "phase", [row]) == ["mixed"]
    assert (own.tokens[row], own.m[row], own.n[row]) == (12, 10, 192)
    assert own.context_tokens[row] == 64 + 128 + 192
    assert own.flop[row] == 2 * 32 * 128 * (192 + 10 * 192)


def test_windowed_layers_read_their_window_only() -> None:
    # gpt-oss sees 128 tokens in every other layer: two blocks and one more for their offset
    program = decode(inputs("gpt-oss-20b"), batch=1, context=1000)
    own = program.operations
    rows = named(program, "QK^T")

    assert own.context_tokens[rows][:2].tolist() == [3 * 64, 16 * 64]


def test_tensor_parallelism_reduces_twice_a_layer_over_the_cards_of_a_stage() -> None:
    program = decode(inputs(tensor=2, pipeline=2))
    own = program.operations

    for rank, group in ((1, 0), (3, 1)):
        reduces = named(program, "all-reduce", "all-reduce+residual")
        here = reduces[(own.rank[reduces] == rank) & (own.microbatch[reduces] == 0)]
        assert len(here) == 2 * 16
        assert set(own.group[here]) == {group}
        assert set(own.payload_bytes[here]) == {2 * 4096 * 2}  # two tokens in FP16
    assert program.groups == ((0, 1), (2, 3))


def test_one_card_exchanges_nothing_with_others() -> None:
    program = decode(inputs())

    assert program.groups == ()
    assert program.operations.group.max() == -1
    assert "send" not in words(program, "kind", np.arange(len(program)))


def test_a_stage_sends_each_card_s_part_and_the_token_returns() -> None:
    program = decode(inputs(tensor=2, pipeline=3), batch=3)
    own = program.operations
    slot = own.microbatch == 1

    sends = named(program, "send activations", "send token")
    sends = sends[slot[sends]]

    assert own.rank[sends].tolist() == [0, 1, 2, 3, 4, 5]
    assert own.peer[sends].tolist() == [2, 3, 4, 5, 0, 1]
    assert own.payload_bytes[sends].tolist() == [4096] * 4 + [0] * 2  # 1 token, FP16, 2 cards
    assert set(own.stream[sends]) == {3}


def test_a_stage_waits_for_what_it_receives_and_for_its_batch_before() -> None:
    program = decode(inputs(pipeline=2), batch=2)
    own = program.operations
    gather = named(program, "receive gather")
    receive = named(program, "receive activations")
    last = [np.flatnonzero((own.rank == 1) & (own.microbatch == slot)) for slot in (0, 1)]
    sample = named(program, "sample")

    assert own.microbatch[gather].tolist() == [0, 1]
    assert deps(program, gather[0]) == [receive[0]]
    assert deps(program, gather[1]) == [receive[1], sample[0]]
    assert sample[0] in last[0]


def test_repeats_wait_for_the_repeat_before() -> None:
    program = decode(inputs(pipeline=2), batch=2, steps=3)
    rows = len(program.operations)
    whole = program.expanded()
    host, token = named(whole, "host"), named(whole, "receive token")
    last = named(whole, "send activations")

    assert (program.repeats, len(whole)) == (3, 3 * rows)
    assert deps(whole, host[0]) == []  # first step, first slot: nothing before
    assert host[2] - rows == host[0]
    waits = deps(whole, host[2])  # second step, first slot
    assert waits[0] == token[0]  # its own token
    assert whole.operations.microbatch[waits[1]] == 1  # and the stage, from the slot before
    assert whole.operations.rank[waits].tolist() == [0, 0]
    assert len(last) == 6


def test_the_host_comes_before_the_work_of_the_first_stage() -> None:
    program = decode(inputs(tensor=2, pipeline=2, streamed=True), batch=2)
    own, host = program.operations, named(program, "host")
    stream = named(program, "weight stream")

    assert own.rank[host].tolist() == [0, 1, 0, 1]
    assert set(own.stream[host]) == {5}
    assert [deps(program, row) for row in named(program, "embedding")] == [[row] for row in host]
    assert deps(program, stream[0]) == [host[0]]


def test_a_prompt_takes_the_slots_in_turn_and_the_next_prompt_goes_on_from_there() -> None:
    # two prompts of 100 tokens in chunks of 40, 40, 20: six batches over four slots
    steps = prefill_steps(prompts=2, prompt_tokens=100, chunk_tokens=40, slots=4)
    ends = [[batch and batch.chunk_contexts for batch in step] for step in steps]
    last = [[batch and batch.last_chunks for batch in step] for step in steps]

    assert ends == [[(40,), (80,), (100,), (40,)], [(80,), (100,), None, None]]
    assert last == [[0, 0, 1, 0], [0, 1, None, None]]


def test_more_prompts_than_slots_are_read_in_groups() -> None:
    steps = prefill_steps(prompts=3, prompt_tokens=8, chunk_tokens=4, slots=2)
    ends = [[batch and batch.chunk_contexts for batch in step] for step in steps]

    assert ends == [[(4, 4), (8, 8)], [(4,), (8,)]]


def test_decoding_slots_share_the_chunks_of_one_prompt_after_the_other() -> None:
    steps = mixed_steps(batch=3, context=7, prompt_tokens=6, chunk_tokens=2, slots=2)

    assert [[batch and batch.decode_contexts for batch in step] for step in steps] == [
        [(7, 7), (7,)],
        [(8, 8), (8,)],
        [(9, 9), (9,)],
    ]
    assert [[batch and batch.chunk_contexts for batch in step] for step in steps] == [
        [(2,), (4,)],
        [(6,), (2,)],
        [(4,), (6,)],
    ]


def test_a_chunk_waits_for_its_slot_to_leave_the_last_stage_but_for_no_token() -> None:
    steps = prefill_steps(prompts=1, prompt_tokens=3, chunk_tokens=1, slots=2)
    program = generate_program(inputs(pipeline=2), steps)
    own, host = program.operations, named(program, "host")
    first_at_last = np.flatnonzero((own.rank == 1) & (own.microbatch == 0) & (own.step == 0))
    second_at_first = np.flatnonzero(
        (own.rank == 0) & (own.microbatch == 1) & (own.step == 0) & (own.stream <= 1)
    )

    assert deps(program, host[2]) == [first_at_last[-1], second_at_first[-1]]
    assert own.step[named(program, "send token")].tolist() == [1]  # the last chunk's


def test_every_step_is_written_out_where_steps_differ() -> None:
    steps = prefill_steps(prompts=1, prompt_tokens=100, chunk_tokens=64, slots=1)
    program = generate_program(inputs(pipeline=2), steps)
    own = program.operations

    assert (program.repeats, program.steps) == (1, 2)
    rows = named(program, "QKV")
    first, second = (rows[own.step[rows] == step] for step in (0, 1))
    assert (set(own.m[first]), set(own.m[second])) == ({64}, {36})
    assert own.step[named(program, "LM head")].tolist() == [1]  # only a prompt's last chunk


def test_a_template_grows_as_written_out_steps_do() -> None:
    given = inputs("gpt-oss-20b", tensor=2)
    steps = decode_steps(batch=3, context=60, steps=9, slots=1)

    template = generate_program(given, steps).expanded().operations
    longhand = [generate_program(given, [step]).operations for step in steps]

    for name in ("context_tokens", "flop", "read_bytes", "n", "m", "k"):
        column = np.concatenate([getattr(part, name) for part in longhand])
        np.testing.assert_array_equal(getattr(template, name), column)


def test_expert_parallelism_sends_tokens_to_their_experts() -> None:
    program = decode(inputs("mixtral-8x7b", tensor=4, expert=2), batch=8)
    own = program.operations
    layer = np.flatnonzero((own.layer == 0) & (own.rank == 3))

    exchanges = [row for row in layer if own.collective[row] >= 0 and own.group[row] >= 0]
    assert words(program, "name", exchanges) == [
        *("reduce-scatter", "dispatch all-to-all", "expert gather"),
        *("expert reduce", "combine all-to-all", "all-gather+residual"),
    ]
    assert own.group[exchanges].tolist() == [0, 0, 2, 2, 0, 0]
    assert program.groups == ((0, 1, 2, 3), (0, 1), (2, 3))


def test_skewed_routing_loads_the_hottest_rank_more() -> None:
    model = "qwen3-30b-a3b"
    even = decode(inputs(model, tensor=4, expert=4), batch=64)
    skewed = decode(inputs(model, tensor=4, expert=4, expert_skew=1.2), batch=64)

    pairs = [p.operations.m[named(p, "expert combine")[0]] for p in (even, skewed)]

    assert 64 * 8 / 4 < pairs[0] < pairs[1]


def test_latent_attention_reads_one_latent_for_all_heads() -> None:
    program = decode(inputs("deepseek-v3", tensor=8), batch=1, context=64)
    own = program.operations

    assert own.read_bytes[named(program, "QK^T")[0]] == 64 * (512 + 64) * 65 // 64
    assert own.read_bytes[named(program, "PV")[0]] == 64 * 512 * 65 // 64
    assert own.count[named(program, "absorb K")[0]] == 128 // 8


def test_streamed_weights_come_beside_the_layers_and_before_the_head() -> None:
    program = decode(inputs(tensor=2, streamed=True))
    own = program.operations
    stream = named(program, "weight stream")
    matmuls = own.kind == 0
    head = named(program, "LM head")

    layers = matmuls & (own.rank == 0) & ~np.isin(np.arange(len(program)), head)
    assert own.read_bytes[stream[0]] == own.read_bytes[layers].sum()
    assert stream[0] in deps(program, named(program, "final norm+quant")[0])
    assert stream[0] not in deps(program, named(program, "norm+quant")[0])


def test_replicas_are_equal_and_apart() -> None:
    one = decode(inputs(tensor=2, pipeline=2), steps=2)
    two = decode(inputs(tensor=2, pipeline=2, replicas=2), steps=2)
    rows = len(one.operations)

    check_program(two)
    assert two.groups == (*one.groups, (4, 5), (6, 7))
    for name in ROW_COLUMNS:
        first, second = np.split(getattr(two.operations, name), 2)
        np.testing.assert_array_equal(first, getattr(one.operations, name))
        shift = {"rank": 4, "peer": 4, "group": 2}.get(name, 0)
        np.testing.assert_array_equal(second, first + shift * (first >= 0))
    whole = two.expanded().operations
    owner = np.repeat(np.arange(len(whole)), np.diff(whole.dep_offsets))
    np.testing.assert_array_equal(whole.rank[owner], whole.rank[whole.deps])
    assert len(two.operations) == 2 * rows


@settings(max_examples=25, deadline=None)
@given(
    plan=st.builds(
        Plan,
        tensor_parallel_size=st.sampled_from([1, 2, 4]),
        pipeline_parallel_size=st.integers(1, 3),
        replicas=st.integers(1, 2),
    ),
    experts=st.booleans(),
    streamed=st.booleans(),
    make=st.sampled_from(["decode", "prefill", "mixed"]),
    batch=st.integers(1, 7),
    steps=st.integers(1, 3),
)
def test_whatever_is_generated_holds_together(
    plan: Plan, experts: bool, streamed: bool, make: str, batch: int, steps: int
) -> None:
    if experts:
        plan = replace(plan, expert_parallel_size=plan.tensor_parallel_size)
    model = SMALL["experts" if experts else "windowed"]
    written = replace(inputs(streamed=streamed), plan=plan, model=model)
    program = generate_program(written, STEPS[make](batch, steps, plan.pipeline_parallel_size))

    whole = program.expanded()
    check_program(program)
    check_program(whole)
    own = whole.operations
    owner = np.repeat(np.arange(len(own)), np.diff(own.dep_offsets))
    assert whole.ranks == plan.cards
    assert (own.deps < owner).all()
    apart = own.rank[own.deps] - own.rank[owner]
    to_last = (plan.pipeline_parallel_size - 1) * plan.tensor_parallel_size
    assert set(apart.tolist()) <= {0, to_last}
    hosts = set(own.name[owner[apart > 0]].tolist())  # which waits for the slot to be free
    assert hosts <= {whole.words["name"].index("host")}


def shortened(name: str) -> Model:
    whole = load_model(name)
    return replace(whole, layers=whole.layers[:3])


SMALL = {"windowed": shortened("gpt-oss-20b"), "experts": shortened("mixtral-8x7b")}
Make: TypeAlias = Callable[[int, int, int], Any]
STEPS: dict[str, Make] = {
    "decode": lambda batch, steps, slots: decode_steps(
        batch=batch, context=63, steps=steps, slots=slots
    ),
    "prefill": lambda batch, steps, slots: prefill_steps(
        prompts=batch, prompt_tokens=8 * steps + 3, chunk_tokens=8, slots=slots
    ),
    "mixed": lambda batch, steps, slots: mixed_steps(
        batch=batch, context=200, prompt_tokens=8 * steps, chunk_tokens=8, slots=slots
    ),
}


def test_a_batch_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ProgramError, match="1 to 128 tokens, got 129"):
        decode(inputs(), batch=129)


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(ProgramError, match="no slot has anything to do"):
        generate_program(inputs(), [[None]])


def test_a_plan_that_cannot_cut_the_model_is_refused() -> None:
    with pytest.raises(PlanError, match="33"):
        decode(inputs(pipeline=33), batch=33)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"decode_contexts": (0,)}, "at least 1 token"),
        ({"chunk_tokens": 8}, "go together"),
        ({"chunk_tokens": 8, "chunk_contexts": (7,)}, "8 tokens cannot end with 7"),
        ({"decode_contexts": (5,), "last_chunks": 1}, "last_chunks is 0 to 0, got 1"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Batch(**wrong)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rank": [0], "kind": ["matmul"], "flops": [1]}, "no column 'flops'"),
        ({"rank": [0], "kind": ["matmul"], "flop": [1, 2]}, "flop has 2 rows, rank has 1"),
        ({"rank": [0], "kind": ["mult"]}, "'mult' is none of matmul"),
        ({"rank": [0], "kind": ["load"], "deps": [[], []]}, "deps has 2 rows"),
    ],
)
def test_columns_that_make_no_program_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        program_of(columns)
