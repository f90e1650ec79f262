from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.machine.attention import attention_ps
from cluster.machine.price import PriceInputs, price_tables
from cluster.machine.price.program import ProgramPrice, price_program, program_inputs
from cluster.machine.tables import PriceTables
from cluster.scenario.formats import Formats
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan
from workloads.program import Batch, Program, decode_steps, generate_program
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
        return PriceInputs(
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

    return build


def written(given: PriceInputs, steps: Steps) -> Program:
    return generate_program(program_inputs(given), steps)


def measures(tables: PriceTables, batch: Batch) -> tuple[int, int, int, int]:
    """The two sums by which the serving engine knows a batch, full and windowed."""
    sums = []
    for window in (0, tables.window_tokens):
        decode, chunks = batch.met(window)
        passes = -(-batch.chunk_tokens * tables.clocks_per_query // 64)
        sums += [decode // 64, chunks // 64 * passes]
    return (*sums[:2], *(sums[2:] if tables.window_tokens else (0, 0)))  # type: ignore[return-value]


def stage_ps(tables: PriceTables, batch: Batch, stage: int) -> int:
    """What the serving engine lets a stage work on a batch, without its LPDDR floor."""
    kind = tables.stage_class[0, stage]
    attention = attention_ps(tables.attention[kind], *measures(tables, batch))
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
    given = inputs(model, tensor, pipeline, expert)
    tables = price_tables(given)

    program = written(given, [[batch]])
    price = price_program(program, given)

    for stage in range(pipeline):
        for card in range(stage * tensor, (stage + 1) * tensor):
            assert chain_ps(program, price, card) == stage_ps(tables, batch, stage)
