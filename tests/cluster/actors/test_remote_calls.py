"""What actors are called for in a replay, without a Ray: the answers are those of one process."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from cluster.perf_model.prices import PriceInputs
from cluster.perf_model.prices.program import ProgramPrice, RowJob, RowPrice, price_rows
from cluster.replay.op_tables import encoded_ops
from cluster.replay.run import ReplayMachine, assemble_replay, run_replay
from cluster.replay.tables import by_card, card_ops, cards_of_ranks, op_parts
from cluster.scenario.load import load
from cluster.scenario.resolve import ResolvedReplay, resolve
from results.remote_parts import encoded
from results.schema import OPS


@pytest.fixture(scope="module")
def resolved() -> ResolvedReplay:
    """Experts, two kinds of layers and two replicas on two servers."""
    program = {"phase": "decode", "batch": 8, "context": 60, "steps": 6, "slots": 2}
    scenario = {
        "model": "gpt-oss-20b",
        "memory": {"mode": "capacity"},
        "cluster": {"servers_per_rack": 2},
        "plan": {
            "tensor_parallel_size": 4,
            "pipeline_parallel_size": 2,
            "expert_parallel_size": 2,
            "replicas": 2,
        },
        "workload": {"program": program},
    }
    return resolve(load(scenario), wanted="operations")


@pytest.fixture(scope="module")
def machine(resolved: ResolvedReplay) -> ReplayMachine:
    return assemble_replay(resolved)


def test_the_price_of_a_row_does_not_depend_on_other_rows(
    resolved: ResolvedReplay, machine: ReplayMachine
) -> None:
    requested: list[int] = []

    def each_by_its_card(inputs: PriceInputs, jobs: Sequence[RowJob]) -> list[RowPrice]:
        cards = [job.card(inputs) for job in jobs]
        requested.extend(cards)
        return [price_rows(inputs, [job])[0] for job in jobs]

    apart = assemble_replay(resolved, each_by_its_card).work

    assert len(set(requested)) > 1
    assert isinstance(apart, ProgramPrice)
    for name in ("duration_ps", "dispatch_ps", "bound", "by_columns", "tier_bytes", "varying_ps"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(machine.work, name), name)


def test_a_card_encodes_its_own_part(resolved: ResolvedReplay, machine: ReplayMachine) -> None:
    outcome = run_replay(resolved, machine)
    cards = cards_of_ranks(machine)
    ranks = by_card(cards)
    for rank, part in zip(ranks, op_parts(machine, outcome), strict=True):
        message = encoded_ops(cards[rank], card_ops(machine, outcome, rank))
        np.testing.assert_array_equal(message, encoded(OPS, part))

    assert len(ranks) == 16


def test_an_actor_that_only_encodes_loads_no_engine() -> None:
    code = (
        "import sys; from cluster.actors.actor_group import WithoutPandas;"
        "sys.meta_path.insert(0, WithoutPandas); import pyarrow; pyarrow.array([1]);"
        "from cluster.replay.op_tables import NamedCard, encoded_ops;"
        "sys.exit(str({'numba', 'pandas', 'networkx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip() == "set()"
