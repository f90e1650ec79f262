"""Schema of operation programs: columns with unit and meaning, and enumerations."""

from typing import ClassVar

from corsair_common.names import PHASES
from workloads.requests import Column

KINDS = ("matmul", "attention", "vector", "load", "store", "send", "recv", "collective")
COMMUNICATION = ("send", "recv", "collective")
"""The kinds that use the network."""
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "barrier")
WEIGHT_CLASSES = (
    "",
    "attention",
    "mlp",
    "expert",
    "shared_expert",
    "router",
    "embedding",
    "head",
    "kv",
)
"""Kinds of weights that an operation reads; ``kv`` is the cache, "" is none."""

COMPUTE, NETWORK, MEMORY, SEND, RECEIVE, HOST = range(6)
"""Streams: operations of one rank and one stream run one after another, in the order of rows.
Sends, receives and the host have streams of their own; others wait for them only by ``deps``."""

VOCABULARIES = {"kind": KINDS, "phase": PHASES, "collective": COLLECTIVES}
"""Columns whose words are fixed, and their words."""

OPEN = ("name", "weight_class", "weight_format", "activation_format")
"""Columns of any words: a program carries its own dictionaries for them."""


class ProgramError(ValueError):
    """An invalid operation program; names the place, what was found, and what is allowed."""

    exit_code: ClassVar[int] = 2


def _column(name: str, type: str, unit: str, meaning: str, *, optional: bool = True) -> Column:
    return Column(name=name, type=type, unit=unit, meaning=meaning, optional=optional)


PROGRAM_COLUMNS = (
    _column("op", "int64", "1", "Number of the operation: its row, counted from 0."),
    _column("rank", "int32", "1", "Rank that runs it, 0 and up without gaps.", optional=False),
    _column(
        "stream",
        "int8",
        "1",
        "Queue of the rank: 0 compute, 1 network, 2 memory, 3 sends, 4 receives, 5 host; others "
        "are free. A queue runs its operations one after another in the order of rows.",
    ),
    _column("kind", "dictionary", "1", f"One of {', '.join(KINDS)}.", optional=False),
    _column("name", "dictionary", "1", "Name of the operation; equal names, equal kind of work."),
    _column("step", "int32", "1", "Pass over the model that it belongs to; never falls."),
    _column("layer", "int32", "1", "Layer of the model, -1 outside of them."),
    _column("microbatch", "int32", "1", "Slot of the pipeline whose batch it works on."),
    _column("phase", "dictionary", "1", f"Phase of its batch: {', '.join(PHASES)}."),
    _column(
        "tokens",
        "int64",
        "tokens",
        "Tokens of its batch: those that run through the layers, or, behind the last layer, the "
        "rows that emit a token.",
    ),
    _column(
        "m",
        "int64",
        "rows",
        "Rows of x in y[m, n] = x[m, k] W[k, n], of vector work; attention: new tokens of each "
        "prefill chunk, 0 where all rows decode.",
    ),
    _column("k", "int64", "elements", "Contraction width of a product; attention: head width."),
    _column(
        "n",
        "int64",
        "elements",
        "Columns of a product or elements of a row; attention: of context_tokens, those that "
        "prefill chunks read.",
    ),
    _column(
        "count",
        "int64",
        "1",
        "Equal products done at once, each with its own weights; attention: KV heads of the "
        "rank; an exchange inside the rank: equal ones side by side.",
    ),
    _column(
        "context_tokens",
        "int64",
        "tokens",
        "Attention: KV tokens that the batch reads, a decode row's or a chunk's in whole blocks "
        "of 64, summed over them.",
    ),
    _column("weight_class", "dictionary", "1", f"Weights: {', '.join(WEIGHT_CLASSES[1:])}."),
    _column("weight_format", "dictionary", "1", "Number format of the stationary operand."),
    _column("activation_format", "dictionary", "1", "Number format of the moving operand."),
    _column("flop", "int64", "1", "Multiplications and additions; vector work: one an element."),
    _column(
        "read_bytes",
        "int64",
        "bytes",
        "Weights and KV read from memory, in their memory format.",
    ),
    _column("write_bytes", "int64", "bytes", "KV written to memory."),
    _column(
        "payload_bytes",
        "int64",
        "bytes",
        "Bytes sent over links, in the wire format. send and recv: of this rank; all_reduce, "
        "reduce_scatter, all_gather, broadcast: the whole vector; all_to_all: what one rank "
        "sends, its own part included.",
    ),
    _column("collective", "dictionary", "1", f"Of a collective: {', '.join(COLLECTIVES)}."),
    _column(
        "group",
        "int32",
        "1",
        "Group of ranks that a collective joins; -1: it stays inside the rank.",
    ),
    _column("peer", "int32", "1", "Rank at the other end of a send or recv, else -1."),
    _column(
        "tag",
        "int64",
        "1",
        "The i-th send of a rank to a peer under a tag goes to that peer's i-th recv from it under "
        "that tag.",
    ),
    _column(
        "duration_ps",
        "int64",
        "ps",
        "Recorded duration, which overrides any price; null if none was recorded.",
    ),
    _column(
        "deps",
        "list<int64>",
        "1",
        "Operations that must have ended before it starts: rows of an earlier or of its own step. "
        "In a program of repeats, negative numbers count back into the repeat before.",
    ),
    _column("varies", "int32", "1", "Line of the varying values that it takes; -1: none."),
)
"""The table of operations, one row per operation and rank."""

DEFAULTS = {"layer": -1, "group": -1, "peer": -1, "duration_ps": -1, "varies": -1, "count": 1}
"""What an absent column is filled with, where it is not 0."""

VARYING = ("n", "context_tokens", "flop", "read_bytes")
"""Columns whose values may change from repeat to repeat."""
