"""Data shared by pricing, the serving engines and the timeline: price tables and the step log."""

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers

Records: TypeAlias = npt.NDArray[Any]

LONGEST_PS = 10**15
"""Of one operation or exchange, a quarter of an hour: sums over layers stay in int64."""


class TooSlowError(ValueError):
    """Hardware so slow, or work so large, that its time leaves what is simulated."""

    exit_code: ClassVar[int] = 3


KINDS = 4
"""Most kinds of layers of one model: the step log has columns for so many."""

MEASURES = (
    "decode_blocks",  # sum over decode rows of the 64-token KV blocks that they see
    "prefill_blocks",  # sum over chunks of the blocks that they see
    "prefill_passes",  # sum over chunks of blocks x tile passes
    "prefill_pairs",  # sum over chunks of query-key pairs
    "far_blocks",  # KV blocks that the step moves from or to the far memory
)
"""The sums by which attention knows a step, for each kind of layer; all but the last price it."""

DECODE_BLOCKS, PREFILL_BLOCKS, PREFILL_PASSES, PREFILL_PAIRS, FAR_BLOCKS = range(len(MEASURES))

KIND = np.dtype(
    [
        ("window", np.int64),  # tokens that its layers see; 0: the whole context
        ("clocks_per_query", np.int64),  # a chunk of q tokens: ceil(q x clocks / 64) tile passes
    ]
)
"""A kind of layers: equal window and equal query heads per KV head. Kind 0 sees the whole context,
even where a model has no such layer."""

_STEP = (
    "start_ps",  # when the first stage took the batch
    "end_ps",  # when the last stage finished it: its tokens reach their users
    "replica",
    "slot",
    "tokens",  # scheduled in this step: decode rows and prefill tokens
    "prefill_tokens",
    "emitted",  # rows that went through the LM head
    "finished",  # requests whose last token this step emits
    "running",  # requests of the slot, and half-read prompts with a chunk in this step
    "waiting",  # requests queued at the replica after scheduling
    "prompt_request",  # the first whose prompt has tokens in this step; -1: none
    "used_blocks",  # KV of the replica in use after scheduling (units of KvCapacity)
)
MEASURED = len(_STEP)
"""Column of a log row at which its measures begin: those of kind 0, of kind 1, ..."""

STEP = np.dtype(
    [
        (name, np.int64)
        for name in (
            *_STEP,
            *(f"{name}_{kind}" if kind else name for kind in range(KINDS) for name in MEASURES),
        )
    ]
)
"""One row of the step log: one batch of one slot, on its way through all stages. Measures of kinds
but the first end in their number."""


def as_integers(log: Records) -> Integers:
    """[n, columns] a step log as whole numbers, measures from MEASURED on.

    A view where its rows are contiguous; of one memory layout, whatever their number, so that
    kernels are compiled once.
    """
    rows = np.ascontiguousarray(log, STEP)
    return rows.view(np.int64).reshape(len(rows), len(STEP.names or ()))


INTERVAL = np.dtype(
    [
        (name, np.int64)
        for name in (
            "request",
            "replica",
            "slot",  # in which it decodes; -1: it lost its KV before its prompt was read
            "first_row",  # steps of its replica, counted from 0 in the order of their starts
            "last_row",
            "kind",  # cluster.serving.interface.IntervalKind
        )
    ]
)
"""What a request went through between two steps of its replica, both included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTables:
    """Every duration that a serving step can need, in int64 picoseconds.

    ``c`` runs over price classes (stages that cost the same share one), ``t`` over scheduled tokens
    0..max_num_batched_tokens, ``s`` over emitting rows 0..max_num_seqs. Entry 0 is 0 except
    that of ``head_ps``.

    The work of a step of ``t`` tokens at a stage of class ``c`` lasts::

        max(floor_ps[c, t] + fetch_ps(far_block_ps[c], measures),
            linear_ps[c, t] + collective_ps[c, t] + attention_ps(attention[c], measures))
        + head_ps[c, emitted]

    where the device fetches ahead (``ahead``); else the blocks from its far memory come first and
    ``fetch_ps`` is added to the second line instead.

    and the next stage may begin ``send_ps[c, t]`` after its end.
    """

    linear_ps: Integers
    """[c, t] linear layers, vector work and every dispatch of the stage."""
    collective_ps: Integers
    """[c, t] all collectives of the stage, the all-gather of received activations included."""
    floor_ps: Integers
    """[c, t] the LPDDR stream that the stage cannot outrun; 0 where weights lie in SRAM."""
    send_ps: Integers
    """[c, t] from the end of this stage to the earliest start of the next; 0 at the last."""
    head_ps: Integers
    """[c, s] LM head and sampling at the last stage; at the first what its host needs for every
    step, which is entry 0, too."""
    attention: Records
    """[c, op] products of attention (``cluster.perf_model.attention.ATTENTION``)."""
    far_block_ps: npt.NDArray[np.float64]
    """[c, kind] time of the far memory for one KV block of all layers of the kind."""
    linear_by_bound_ps: Integers
    """[c, t, bound] the split of ``linear_ps`` in the order of ``bounds``."""
    head_by_bound_ps: Integers
    """[c, s, bound]"""
    collective_bytes: Integers
    """[c, t, tier] bytes that each card of the group puts on each tier of the class's group."""
    send_bytes: Integers
    """[c, t] bytes that each card sends on to its peer in the next stage."""
    token_counts: Integers
    """[c, t, COUNTS] what the linear layers of the stage count on each of its cards
    (``cluster.perf_model.devices.dimc.counters``)."""
    head_counts: Integers
    """[c, s, COUNTS]"""
    attention_counts: Integers
    """[c, kind x MEASURES, COUNTS] of one unit of each measure."""
    stage_class: Integers
    """[replica, stage] which class prices this stage."""
    return_ps: Integers
    """[replica] from the last stage's end to the slot's next turn: the sampled token's way back."""
    kinds: Records
    """[kind] kinds of layers (dtype KIND), at most KINDS."""
    bounds: tuple[str, ...]
    """What can set the time of an operation, in the order of every ``by_bound`` axis."""
    far_bound: int
    """Position in ``bounds`` of the far memory; any, where there is none."""
    ahead: bool = False
    """Whether KV from the far memory is fetched ahead of use."""
    memories: tuple[str, ...] = ("sram", "lpddr")
    """Names of the device's near memory, and of its far one where it has one."""
    host_ps: int = 0
    """What a batch that is composed ahead waits for its host, at least, before it starts."""

    @property
    def stages(self) -> int:
        return int(self.stage_class.shape[1])

    @property
    def replicas(self) -> int:
        return int(self.stage_class.shape[0])
