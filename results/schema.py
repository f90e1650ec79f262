"""Every column of every output table: name, type, unit, meaning. Declared here and nowhere else.

No pyarrow here: a column's type is Arrow's own name for it (``category`` is dictionary<string>,
``strings`` a list of them), and ``results.arrow`` turns the declarations into Arrow schemas.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

SCHEMA_VERSION = 1
"""Raised when a column changes its name, type, unit or meaning."""

STATUSES = ("completed", "rejected_too_long", "rejected_no_room")
"""What became of a request; the position is the code that the engines give."""

BOUNDS = ("stream", "mac", "simd", "lpddr", "network", "dispatch")
"""What sets the time of a card, in the order of every split by bound."""

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "ttft": "time to first token, from the request's arrival",
        "tpot": "time per output token after the first, per request of two tokens or more",
        "itl": "inter-token latency, over all pairs of consecutive tokens",
        "e2el": "end-to-end latency, from arrival to the last token",
        "queue": "wait from arrival to the first step that holds the request",
    }
)
"""The latencies of the summary, by vLLM's short names (``queue`` is ours)."""

TypeName: TypeAlias = Literal["int32", "int64", "float64", "string", "category", "strings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of one table."""

    name: str
    type: TypeName
    unit: str
    """SI, or what is counted; empty for names and codes."""
    meaning: str
    nullable: bool = False
    categories: tuple[str, ...] = ()
    """Where given, an integer array is a column of positions in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One Parquet file of a run."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    group_per_part: bool = False
    """Each part that is written becomes one row group; else groups have a fixed number of rows."""


def percentile_word(percentile: float) -> str:
    """``p99`` or ``p99.9``, as vLLM writes them."""
    return f"p{percentile:g}"


def summary_statistics(metric: str) -> Iterator[tuple[str, str]]:
    """Key and words of each statistic of a latency, e.g. ``("mean_ttft_ms", "mean")``."""
    for word in ("mean", "median", "std"):
        yield f"{word}_{metric}_ms", {"std": "standard deviation"}.get(word, word)
    for percentile in PERCENTILES:
        yield f"{percentile_word(percentile)}_{metric}_ms", f"{percentile:g}th percentile"


def _int(name: str, unit: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name=name, type="int64", unit=unit, meaning=meaning, nullable=nullable)


def _index(name: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name=name, type="int32", unit="", meaning=meaning, nullable=nullable)


def _float(name: str, unit: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name=name, type="float64", unit=unit, meaning=meaning, nullable=nullable)


def _word(name: str, meaning: str, categories: tuple[str, ...] = ()) -> Column:
    return Column(name=name, type="category", unit="", meaning=meaning, categories=categories)


REQUESTS = Table(
    name="requests",
    meaning="One row per request, in order of request_id. Null where it did not happen.",
    columns=(
        _int("request_id", "", "Position in the order of arrival, from 0."),
        _float("arrival_s", "s", "When it arrived, from the start of the simulation."),
        _float("first_scheduled_s", "s", "Start of the first step that holds it.", True),
        _float("first_token_s", "s", "When its first token left.", True),
        _float("finish_s", "s", "When its last token left.", True),
        _int("prompt_tokens", "tokens", "Length of the prompt."),
        _int("output_tokens", "tokens", "Length of the answer that it asks for."),
        _index("replica", "Copy of the model that it was routed to.", True),
        _int("preemptions", "times", "How often it lost its KV and had to recompute."),
        _int("cached_tokens", "tokens", "Prompt tokens found in the prefix cache when admitted."),
        _word("status", "What became of it.", STATUSES),
        _float("ttft_s", "s", "first_token - arrival.", True),
        _float("tpot_s", "s", "(finish - first_token) / (output_tokens - 1); null for one.", True),
        _float("e2e_s", "s", "finish - arrival.", True),
        _float("queue_s", "s", "first_scheduled - arrival.", True),
    ),
)

STEPS = Table(
    name="steps",
    meaning="One row per batch of a slot on its way through all stages, in order of start per"
    " replica; whole picoseconds, so that sums are exact.",
    columns=(
        _int("start_ps", "ps", "When the first stage took the batch."),
        _int("end_ps", "ps", "When the last stage finished it and its tokens left."),
        _int("replica", "", "Copy of the model."),
        _int("slot", "", "Slot of the replica's pipeline."),
        _int("tokens", "tokens", "Scheduled in this step: decode rows and prefill tokens."),
        _int("prefill_tokens", "tokens", "Those of them that belong to prompts."),
        _int("emitted", "tokens", "Rows that went through the LM head."),
        _int("finished", "requests", "Requests whose last token this step emits."),
        _int("running", "requests", "Members of the slot after scheduling."),
        _int("waiting", "requests", "Requests queued at the slot after scheduling."),
        _int("used_blocks", "blocks", "KV blocks of the replica in use after scheduling."),
        _int("decode_blocks", "blocks", "KV blocks that decode rows attend to, full layers."),
        _int("prefill_passes", "passes", "KV blocks x tile passes of prefill, full layers."),
        _int("decode_blocks_windowed", "blocks", "decode_blocks of windowed layers."),
        _int("prefill_passes_windowed", "passes", "prefill_passes of windowed layers."),
    ),
)

_BIN = (
    _index("bin", "Position of the time bin, from 0."),
    _float("start_s", "s", "Start of the bin."),
    _float("end_s", "s", "End of the bin."),
)

CARDS = Table(
    name="cards",
    meaning="One row per card and time bin, a row group per card; busy times and idle_s add up to"
    " the bin's length (exactly in whole picoseconds).",
    group_per_part=True,
    columns=(
        _index("card", "Position of the card, from 0."),
        _word("card_name", "Name of the card in the topology."),
        _index("server", "Server that it sits in."),
        _index("replica", "Copy of the model that it serves; null for a spare card.", True),
        _index("stage", "Pipeline stage that it serves; null for a spare card.", True),
        *_BIN,
        *(
            _float(f"busy_{bound}_s", "s", f"Time of the bin bound by {what}.")
            for bound, what in zip(
                BOUNDS,
                (
                    "streaming weights or KV from SRAM into the DIMC arrays",
                    "multiply-accumulate in the DIMC arrays",
                    "vector work",
                    "LPDDR",
                    "the network: collectives that the card takes part in",
                    "dispatching operations",
                ),
                strict=True,
            )
        ),
        _float("idle_s", "s", "Time of the bin in which the card had no work."),
        _int("steps", "steps", "Steps that its stage began in the bin.", True),
        _int("tokens", "tokens", "Tokens of those steps.", True),
        _float("kv_blocks", "blocks", "KV blocks of the replica in use, mean over the bin.", True),
        _float("kv_fraction", "1", "kv_blocks over the blocks that there are.", True),
    ),
)

LINKS = Table(
    name="links",
    meaning="One row per link that carried anything and time bin.",
    columns=(
        _index("link", "Position of the link in the route tables."),
        _word("link_name", "Name of the link: from>to."),
        _word("kind", "Kind of the link."),
        *_BIN,
        _int("bytes", "B", "Bytes that the link carried in the bin."),
        _float("busy_s", "s", "Time that these bytes occupied the link."),
        _float("utilisation", "1", "busy_s over the bin's length."),
    ),
)

NODES = Table(
    name="nodes",
    meaning="The map: everything that a link may join, and where to draw it.",
    columns=(
        _word("name", "Name of the node in the topology."),
        _word("kind", "What it is: chiplet, card, PCIe switch, host, NIC, leaf, spine, ..."),
        _float("x", "", "Where to draw it, to the right.", True),
        _float("y", "", "Where to draw it, upward.", True),
        _index("card", "Position of the card, for cards.", True),
        _index("server", "Server that it belongs to.", True),
        _index("rack", "Rack that it belongs to.", True),
    ),
)

EDGES = Table(
    name="edges",
    meaning="The map: one row per direction of each link.",
    columns=(
        _word("src", "Node that the link leaves."),
        _word("dst", "Node that the link reaches."),
        _word("kind", "Kind of the link."),
        _float("bandwidth_bytes_per_s", "B/s", "Per direction."),
        _float("latency_s", "s", "Of an empty message."),
        _float("energy_j_per_bit", "J/bit", "To move one bit across.", True),
    ),
)

PLACEMENT = Table(
    name="placement",
    meaning="What lies where: one row per card and class of tensors.",
    columns=(
        _index("card", "Position of the card, from 0."),
        _word("card_name", "Name of the card in the topology."),
        _index("replica", "Copy of the model that it serves.", True),
        _index("stage", "Pipeline stage that it serves.", True),
        _word("tensor_class", "Weights of one kind, KV cache, activations, ..."),
        _word("where", "Memory that holds it: sram or lpddr."),
        _int("bytes", "B", "Size on this card."),
    ),
)


def _summary_columns() -> Iterator[Column]:
    yield Column(name="run_id", type="string", unit="", meaning="Identity of the run's content.")
    yield _int("model_version", "", "Version of the model of the machine.")
    yield _int("completed", "requests", "Requests that got their whole answer.")
    yield _int("failed", "requests", "Requests that did not: those refused.")
    yield _float("duration", "s", "From the first counted arrival to the last event.", True)
    yield _int("total_input_tokens", "tokens", "Prompt tokens of completed requests.")
    yield _int("total_output_tokens", "tokens", "Output tokens of completed requests.")
    for name, unit, meaning in (
        ("request_throughput", "requests/s", "completed / duration."),
        ("request_goodput", "requests/s", "Requests that met every SLO / duration."),
        ("output_throughput", "tokens/s", "total_output_tokens / duration."),
        ("total_token_throughput", "tokens/s", "Input and output tokens / duration."),
        ("max_output_tokens_per_s", "tokens/s", "Most tokens that left in one second."),
    ):
        yield _float(name, unit, meaning, True)
    yield _int("max_concurrent_requests", "requests", "Most requests in the system at a time.")
    for metric, meaning in METRICS.items():
        for key, words in summary_statistics(metric):
            yield _float(key, "ms", f"{words.capitalize()} of the {meaning}.", True)
    for name, unit, meaning in (
        ("goodput", "requests/s", "request_goodput by its short name."),
        ("slo_attainment", "1", "Share of all counted requests that met every SLO."),
        ("output_tokens_per_s_per_user", "tokens/s", "1 / mean TPOT."),
        ("output_tokens_per_s_per_card", "tokens/s", "output_throughput / cards."),
        ("mean_batch_size", "requests", "Mean number of requests in a step of a slot."),
        ("peak_kv_fraction", "1", "Largest share of a replica's KV blocks in use."),
    ):
        yield _float(name, unit, meaning, True)
    yield _int("preemptions", "times", "Preemptions of all counted requests.")
    yield _int("rejected", "requests", "Requests refused: too long, or no room for their KV.")
    yield _float("prefix_hit_rate", "1", "Share of prompt tokens found in the cache.", True)
    for bound in BOUNDS:
        yield _float(f"bound_share.{bound}", "1", f"Share of busy time bound by {bound}.", True)
    yield _float("joules_per_output_token", "J/token", "Energy / total_output_tokens.", True)
    yield _float("mean_power_w", "W", "Mean power of the cluster.", True)
    yield _float("peak_power_w", "W", "Highest power of the cluster in a time bin.", True)
    yield Column(name="flags", type="strings", unit="", meaning="What a reader should beware of.")


SUMMARY = Table(
    name="summary",
    meaning="One row: the run in numbers. Keys of vLLM's bench serve, then our own.",
    columns=tuple(_summary_columns()),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (REQUESTS, SUMMARY, STEPS, CARDS, LINKS, NODES, EDGES, PLACEMENT)
    }
)
