"""The operations of one card with their times, and their conversion to columns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.replay.loop_unroll import repeated
from corsair_common.names import PHASES
from corsair_common.units import PS_PER_S, Integers
from results.engine_columns import Coded
from workloads.program import Program
from workloads.program.schema import KINDS, VARYING

if TYPE_CHECKING:
    from results.remote_parts import ArrowBytes

Columns: TypeAlias = dict[str, Any]

NO_CALL = -1
"""In ``CardOps.begin_ps``: work, without a matched call."""

_VARIED = ("flop", "read_bytes")
_FIXED = ("stream", "name", "kind", "phase", "layer", "microbatch", "write_bytes", "payload_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A card with a rank, or an endpoint of a plain network."""

    index: int
    """In the order of the topology."""
    name: str
    server: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CardOps:
    """The rows of one rank in the template, and their times in every repeat.

    k rows are repeated r times; the times of row i of repeat j are at ``j * k + i``.
    """

    rank: int
    row: Integers
    """[k] number of each row in the template."""
    rows: int
    """Of the whole template."""
    steps: int
    """Of the template."""
    repeats: int
    names: tuple[str, ...]
    """Words of the column ``name``."""
    causes: tuple[str, ...]
    """Words of the column ``bound``."""
    columns: dict[str, npt.NDArray[Any]]
    """[k] each; codes for words."""
    varied: Integers
    """[v] which of the k rows vary."""
    values: Integers
    """[r, v, VARYING] their values in each repeat."""
    start_ps: Integers
    """[r x k]"""
    begin_ps: Integers
    """[r x k] arrival of the last rank of its matched call, or NO_CALL."""
    end_ps: Integers
    """[r x k]"""


def template_of(
    program: Program, rank: int, bound: npt.NDArray[Any], causes: tuple[str, ...]
) -> dict[str, Any]:
    """All of a rank's ``CardOps`` but its times.

    ``bound`` is a position in ``causes`` for each template row.
    """
    own = program.operations
    row = np.flatnonzero(own.rank == rank)
    varied = np.flatnonzero(own.varies[row] >= 0)
    return {
        "rank": rank,
        "row": row,
        "rows": len(own),
        "steps": program.steps_per_repeat,
        "repeats": program.repeats,
        "names": program.words["name"],
        "causes": causes,
        "columns": {
            **{name: getattr(own, name)[row] for name in (*_FIXED, *_VARIED, "step")},
            "bound": bound[row],
        },
        "varied": varied,
        "values": program.varying[:, own.varies[row[varied]]],
    }


def op_columns(seat: Seat, ops: CardOps) -> Columns:
    """Columns of the table ``ops`` for one card, in the order of the program."""
    repeat = np.arange(ops.repeats)[:, None]
    fixed = {name: repeated(ops.columns[name], ops.repeats) for name in (*_FIXED, "bound")}
    none = ops.begin_ps == NO_CALL
    return {
        "op": (repeat * ops.rows + ops.row).ravel(),
        "card": seat.index,
        "card_name": seat.name,
        "server": seat.server,
        "rank": ops.rank,
        **fixed,
        "name": Coded(codes=fixed["name"], words=ops.names),
        "kind": Coded(codes=fixed["kind"], words=KINDS),
        "phase": Coded(codes=fixed["phase"], words=PHASES),
        "bound": Coded(codes=fixed["bound"], words=ops.causes),
        "step": (repeat * ops.steps + ops.columns["step"]).ravel(),
        "layer": np.ma.masked_less(fixed["layer"], 0),
        "start_s": ops.start_ps / PS_PER_S,
        "begin_s": np.ma.masked_array(np.where(none, 0, ops.begin_ps) / PS_PER_S, none),
        "end_s": ops.end_ps / PS_PER_S,
        **{name: _varied(ops, name) for name in _VARIED},
    }


def encoded_ops(seat: Seat, ops: CardOps) -> "ArrowBytes":
    """One card's part of the table ``ops``, for the writer of another process."""
    from results.remote_parts import encoded
    from results.schema import OPS

    return encoded(OPS, op_columns(seat, ops))


def _varied(ops: CardOps, name: str) -> Integers:
    """[r x k] a column that differs from repeat to repeat."""
    column = repeated(ops.columns[name], ops.repeats).reshape(ops.repeats, -1).copy()
    if len(ops.varied):
        column[:, ops.varied] = ops.values[:, :, VARYING.index(name)]
    return column.ravel()
