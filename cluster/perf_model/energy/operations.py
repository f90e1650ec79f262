"""The energy of an operation program, rank by rank, from its operations' columns.

Products count the multiply-adds and bytes of their columns, without the padding of tiles, so a rank
may count slightly less than a card of the serving tables, which counts whole tiles; the network on
the chip is in no column and is omitted. The name of vector work determines its kind.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.work import ProgramWork
from cluster.perf_model.energy.coefficients import costing, tier_joules
from cluster.perf_model.energy.facility import Facility, facility_of
from cluster.perf_model.prices.inputs import PriceInputs, device_for
from cluster.perf_model.prices.program.counts import work_counts
from cluster.perf_model.protocols import Figures
from corsair_common.units import Floats, Integers
from workloads.program import Operations, Program
from workloads.program.schema import KINDS, VARYING

if TYPE_CHECKING:
    from topology.route import Routes

WORDS = {
    "norm": "norm",
    "quant": "quantize",
    "RoPE": "rope",
    "softmax": "softmax",
    "activation": "activation",
    "residual": "residual",
    "top-k": "compare",
    "merge": "quantize",
    "embedding": "quantize",
}
"""Kinds of vector work by parts of an operation's name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramEnergy:
    """Energy of a program on its cards, without static power."""

    parts: tuple[str, ...]
    ranks_j: Floats
    """[rank, parts]"""
    static_w: float
    cards: int
    """Including spare ones."""
    facility: Facility
    clock_hz: float | None
    tokens: int
    """Tokens of the LM head."""


def program_energy(
    program: Program, inputs: PriceInputs, routes: "Routes", tier_bytes: Integers
) -> ProgramEnergy:
    """Count a program of this model on these cards; arguments as of ``rank_joules``."""
    return ProgramEnergy(
        parts=module_of(inputs.hardware).PARTS,
        ranks_j=rank_joules(program, inputs, routes, tier_bytes),
        static_w=inputs.hardware["card.static_w"],
        cards=len(routes.card_id),
        facility=facility_of(inputs.hardware, routes),
        clock_hz=clock_of(inputs.hardware),
        tokens=emitted_tokens(program, inputs.plan.tensor_parallel_size),
    )


def clock_of(hardware: Figures) -> float | None:
    """The clock of the cards, if it is a figure: a GPU's rates include its clock."""
    named = "card.clock_hz" in getattr(hardware, "figures", {})
    return hardware["card.clock_hz"] if named else None


def rank_joules(
    program: Program, inputs: PriceInputs, routes: "Routes", tier_bytes: Integers
) -> Floats:
    """[rank, parts] of all repeats, without static watts.

    ``tier_bytes[row, tier]`` are bytes of the card of a row of the template on each tier.
    """
    whole = _all_repeats(program)
    counts = work_counts(program, whole, inputs)
    spent = costing(
        tier_bytes * program.repeats, tier_joules(inputs.hardware, routes, inputs.cards)
    )
    spent += device_for(inputs).work_joules(
        ProgramWork(
            macs=counts.macs,
            attends=whole.kind == KINDS.index("attention"),
            near_bytes=counts.near_bytes,
            far_bytes=counts.far_bytes,
            elements=counts.simd_ops,
            name=whole.name.astype(np.int64),
            kinds=tuple(_kinds_of(word) for word in program.words["name"]),
        )
    )
    by_rank = np.zeros((program.ranks, spent.shape[1]))
    np.add.at(by_rank, whole.rank.astype(np.int64), spent)
    return by_rank


def _kinds_of(word: str) -> tuple[str, ...]:
    """Kinds of vector work of an operation of this name."""
    return tuple(kind for part, kind in WORDS.items() if part in word) or ("add",)


def emitted_tokens(program: Program, tensor_parallel_size: int) -> int:
    """Rows of the LM head, over all repeats; 0 in a program without one."""
    heads = [code for code, word in enumerate(program.words["name"]) if word == "LM head"]
    rows = np.isin(program.operations.name, heads)
    return int(program.operations.m[rows].sum()) * program.repeats // tensor_parallel_size


def _all_repeats(program: Program) -> Operations:
    """The template with the flop and bytes of all repeats."""
    own, times = program.operations, program.repeats
    varies = own.varies >= 0
    sums = program.varying.sum(axis=0, dtype=np.int64)
    columns = {}
    for name in ("flop", "read_bytes"):
        column = getattr(own, name).astype(np.int64) * times
        column[varies] = sums[own.varies[varies], VARYING.index(name)]
        columns[name] = column
    return replace(own, **columns, write_bytes=own.write_bytes.astype(np.int64) * times)
