"""Tables of a run of ``serve``."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from corsair_common.names import Status
from results.causes import causes_of
from results.devices import Device
from results.schema.column import (
    BIN,
    CARD,
    CARD_ROWS,
    FACILITY_PARTS,
    RUN,
    Column,
    Table,
    index,
    real,
    whole,
    word,
)
from results.sessions import KEYS

STATUSES = tuple(status.word for status in Status)
"""What became of a request; the position is the code that the engines give."""

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "ttft": "time to first token, from the request's arrival",
        "tpot": "time per output token after the first, per request of two tokens or more",
        "itl": "inter-token latency, over all pairs of consecutive tokens",
        "e2el": "end-to-end latency, from arrival to the last token",
        "queue": "wait from arrival to the first step with the request",
    }
)
"""The latencies of the summary, by vLLM's short names (``queue`` is ours)."""


def percentile_word(percentile: float) -> str:
    """``p99`` or ``p99.9``, as vLLM writes them."""
    return f"p{percentile:g}"


def summary_statistics(metric: str) -> Iterator[tuple[str, str]]:
    """Key and words of each statistic of a latency, e.g. ``("mean_ttft_ms", "mean")``."""
    for name in ("mean", "median", "std"):
        yield f"{name}_{metric}_ms", {"std": "standard deviation"}.get(name, name)
    for percentile in PERCENTILES:
        yield f"{percentile_word(percentile)}_{metric}_ms", f"{percentile:g}th percentile"


MBU = (
    "Memory-bandwidth utilisation: bytes of weights and KV that steps need, over time and the "
    "peak bandwidth of the near memory."
)
MFU = (
    "Model flop utilisation: the model's flop over time and the peak in the formats of weights "
    "and activations."
)

MEMORIES: Mapping[str, str] = MappingProxyType({"lpddr": "LPDDR", "host": "the host's memory"})
"""Far memories, as a sentence names them."""

REQUESTS = Table(
    name="requests",
    meaning="One row per request, in order of request_id. Null if it did not happen.",
    distinct=("request_id",),
    columns=(
        whole("request_id", "", "Position in the order of arrival, from 0."),
        real("arrival_s", "s", "When it arrived, from the start of the simulation."),
        real("first_scheduled_s", "s", "Start of the first step with the request.", True),
        real("first_token_s", "s", "Time of its first token.", True),
        real("finish_s", "s", "Time of its last token.", True),
        whole("prompt_tokens", "tokens", "Length of the prompt."),
        whole("output_tokens", "tokens", "Requested output length."),
        index("replica", "Replica that it was routed to.", True),
        whole("preemptions", "times", "Number of preemptions with recomputation."),
        whole("cached_tokens", "tokens", "Prompt tokens found in the prefix cache when admitted."),
        word("status", "Outcome of the request.", STATUSES),
        index("decode_replica", "Of a disaggregated run: the replica that decoded it.", True),
        real("kv_transfer_s", "s", "From the end of its prefill until its KV had arrived.", True),
        whole("kv_transfer_bytes", "B", "KV moved between the pools.", True),
        real("ttft_s", "s", "first_token - arrival.", True),
        real("tpot_s", "s", "(finish - first_token) / (output_tokens - 1); null for one.", True),
        real("e2e_s", "s", "finish - arrival.", True),
        real("queue_s", "s", "first_scheduled - arrival.", True),
        real("energy_j", "J", "Energy of its work on all cards: not static, no KV transfer.", True),
        index("session", "Number of its session, from 0; null without sessions.", True),
        index("turn", "Its place in its session, from 0.", True),
    ),
)


def latency_breakdown_table(device: Device) -> Table:
    """Columns follow the causes of ``results.causes``."""
    causes = list(causes_of(device))
    return Table(
        name="latency_breakdown",
        meaning="One row per request: its latency by cause. The parts sum to its end-to-end latency"
        " (those up to the first token to its TTFT), exactly in whole picoseconds. Null for a"
        " refused request, and where the run cannot have the cause.",
        distinct=("request_id",),
        columns=(
            whole("request_id", "", "Position in the order of arrival, from 0."),
            *(
                real(f"{cause.name}_s", "s", f"Of the whole latency: {cause.meaning}.", True)
                for cause in causes
            ),
            *(
                real(f"ttft_{cause.name}_s", "s", f"Up to the first token: {cause.meaning}.", True)
                for cause in causes
            ),
        ),
    )


LATENCY_SHARES: Mapping[str, str] = MappingProxyType(
    {
        "latency_share": "Share of the mean end-to-end latency",
        "ttft_share": "Share of the mean time to first token",
        "p99_ttft_share": "Share of TTFT, of the requests with a TTFT from its p99 on",
    }
)
"""Families of a summary's keys with a share for each cause."""


def steps_table(device: Device) -> Table:
    """With a column for blocks in the far memory, where the device has one."""
    far = device.memories[1:]
    return Table(
        name="steps",
        distinct=("start_ps", "end_ps"),
        meaning="One row per batch of a slot on its way through all stages, in order of start per"
        " replica; whole picoseconds, so that sums are exact.",
        columns=(
            whole("start_ps", "ps", "When the first stage took the batch."),
            whole("end_ps", "ps", "When the last stage finished it and its tokens left."),
            whole("replica", "", "Copy of the model."),
            whole("slot", "", "Slot of the replica's pipeline."),
            whole("tokens", "tokens", "Scheduled in this step: decode rows and prefill tokens."),
            whole("prefill_tokens", "tokens", "Those of them that belong to prompts."),
            whole("emitted", "tokens", "Rows that went through the LM head."),
            whole("finished", "requests", "Requests whose last token this step emits."),
            whole(
                "running",
                "requests",
                "Requests that the slot decodes, and half-read prompts with a chunk in this step.",
            ),
            whole("waiting", "requests", "Requests queued at the replica after scheduling."),
            whole("prompt_request", "", "First whose prompt has tokens in this step; -1: none."),
            whole(
                "used_blocks",
                "blocks",
                "KV blocks of the replica in use after scheduling; where layers free blocks behind "
                "a window, units of the tightest stage (blocks of each kind of layer by their "
                "bytes).",
            ),
            whole("decode_blocks", "blocks", "KV blocks that decode rows attend to, full layers."),
            whole("prefill_passes", "passes", "KV blocks x tile passes of prefill, full layers."),
            whole("decode_blocks_windowed", "blocks", "decode_blocks of windowed layers."),
            whole("prefill_passes_windowed", "passes", "prefill_passes of windowed layers."),
            *(column for name in far for column in _far_columns(name)),
        ),
    )


def _far_columns(memory: str) -> tuple[Column, Column]:
    name = f"{memory}_blocks"
    meaning = f"KV blocks moved from or to {MEMORIES.get(memory, memory)}, full layers."
    return (
        whole(name, "blocks", meaning),
        whole(f"{name}_windowed", "blocks", f"{name} of windowed layers."),
    )


def cards_table(device: Device) -> Table:
    """Busy time by the device's bounds, energy by its parts."""
    return Table(
        name="cards",
        meaning="One row per card and time bin, card by card; busy times and idle_s add up to the"
        " bin's length (exactly in whole picoseconds).",
        rows_per_group=CARD_ROWS,
        columns=(
            *CARD,
            index("replica", "Copy of the model that it serves; null for a spare card.", True),
            index("stage", "Pipeline stage that it serves; null for a spare card.", True),
            word("pool", "prefill or decode; null in an undivided run.", nullable=True),
            *BIN,
            *(
                real(f"busy_{bound.name}_s", "s", f"Time of the bin bound by {bound.meaning}.")
                for bound in device.bounds
            ),
            real("idle_s", "s", "Time of the bin in which the card had no work."),
            whole("steps", "steps", "Steps that its stage began in the bin.", True),
            whole("tokens", "tokens", "Tokens of those steps.", True),
            real(
                "kv_blocks", "blocks", "KV blocks of the replica in use, mean over the bin.", True
            ),
            real("kv_fraction", "1", "Share of the replica's room for KV in use.", True),
            real("mbu", "1", f"{MBU} In the bin.", True),
            real("mfu", "1", f"{MFU} In the bin.", True),
            *part_columns(device, "Energy of the card in the bin"),
        ),
    )


def part_columns(device: Device, what: str) -> Iterator[Column]:
    """Joules by part; ``what`` begins their meanings."""
    for part in device.parts:
        yield real(f"energy_{part.name}_j", "J", f"{what}: {part.meaning}.", True)


def placement_table(device: Device) -> Table:
    """What lies in which of the device's memories."""
    return Table(
        name="placement",
        meaning="What lies where: one row per card and class of tensors.",
        columns=(
            index("card", "Position of the card, from 0."),
            word("card_name", "Name of the card in the topology."),
            index("replica", "Copy of the model that it serves.", True),
            index("stage", "Pipeline stage that it serves.", True),
            word("tensor_class", "Weights of one kind, KV cache, activations, ..."),
            word("where", f"Memory that holds it: {' or '.join(device.memories)}."),
            whole("bytes", "B", "Size on this card."),
        ),
    )


CLOCK = real("clock_hz", "Hz", "Clock of the cards: as configured, or limited by the cap.", True)


def energy_columns(device: Device) -> Iterator[Column]:
    """Of a summary: the cards' energy in the run's window, and the facility's."""
    for name, unit, meaning in (
        ("energy_j", "J", "Energy of all cards, spare ones too, within duration."),
        ("joules_per_output_token", "J/token", "energy_j / total_output_tokens."),
        ("mean_power_w", "W", "energy_j / duration: all cards together."),
        ("peak_power_w", "W", "Highest mean power of all cards in a time bin."),
        ("output_tokens_per_s_per_w", "tokens/s/W", "Output tokens per second and watt of cards."),
    ):
        yield real(name, unit, meaning, True)
    for spent in device.parts:
        meaning = f"Share of energy_j: {spent.meaning}."
        yield real(f"energy_share.{spent.name}", "1", meaning, True)
    for name, unit, meaning in (
        ("facility_energy_j", "J", "Cards, NICs, switches and hosts, times PUE."),
        ("facility_joules_per_output_token", "J/token", "facility_energy_j / output tokens."),
    ):
        yield real(name, unit, meaning, True)
    for part in FACILITY_PARTS:
        yield real(f"facility_power_w.{part}", "W", f"Mean power of the facility's {part}.", True)


def cost_columns() -> Iterator[Column]:
    """Of a summary: amounts of money, each with the range of uncertain prices."""
    ends = (("", ""), ("_low", " at its lowest"), ("_high", " at its highest"))
    for name, unit, meaning in (
        ("capital_usd", "USD", "Price of cards, hosts, NICs and network switches"),
        ("cost_per_hour_usd", "USD/h", "Amortisation of hardware and electricity, per hour"),
        ("cost_per_million_output_tokens_usd", "USD", "Cost of a million output tokens"),
        ("cost_per_million_input_tokens_usd", "USD", "The whole cost by million input tokens"),
        ("cost_per_request_usd", "USD", "The whole cost by completed request"),
    ):
        for end, words in ends:
            yield real(f"{name}{end}", unit, f"{meaning}{words}.", True)


def draft_columns() -> Iterator[Column]:
    """Of speculative decoding, of the whole run; null without."""
    for name, unit, meaning in (
        ("spec_decode_acceptance_rate", "%", "Accepted drafts of those verified."),
        ("spec_decode_acceptance_length", "tokens", "1 + accepted drafts of a verification, mean."),
    ):
        yield real(name, unit, meaning, True)
    for name, meaning in (
        ("spec_decode_num_drafts", "Rows that verified drafts."),
        ("spec_decode_draft_tokens", "Drafts that they verified."),
        ("spec_decode_accepted_tokens", "Those of them that were accepted."),
    ):
        yield whole(name, "tokens", meaning, True)
    yield real("draft_energy_j", "J", "Of cards that drafts have for themselves.", True)
    key = "joules_per_output_token_with_drafts"
    yield real(key, "J", "joules_per_output_token and draft_energy_j together.", True)


def _summary_columns(device: Device) -> Iterator[Column]:
    yield from RUN
    yield whole("completed", "requests", "Completed requests.")
    yield whole("failed", "requests", "Refused requests.")
    yield real("duration", "s", "From the first arrival, plus warmup_s, to the last finish.", True)
    yield whole("total_input_tokens", "tokens", "Prompt tokens of completed requests.")
    yield whole("total_output_tokens", "tokens", "Output tokens of completed requests.")
    for name, unit, meaning in (
        ("request_throughput", "requests/s", "completed / duration."),
        ("request_goodput", "requests/s", "Requests that met every SLO / duration."),
        ("output_throughput", "tokens/s", "total_output_tokens / duration."),
        ("total_token_throughput", "tokens/s", "Input and output tokens / duration."),
        ("max_output_tokens_per_s", "tokens/s", "Most tokens emitted in one second."),
    ):
        yield real(name, unit, meaning, True)
    yield whole("max_concurrent_requests", "requests", "Most requests in the system at a time.")
    for metric, meaning in METRICS.items():
        for key, words in summary_statistics(metric):
            yield real(key, "ms", f"{words.capitalize()} of the {meaning}.", True)
    for name, unit, meaning in (
        ("goodput", "requests/s", "request_goodput under a short name."),
        ("slo_attainment", "1", "Share of all counted requests that met every SLO."),
        ("output_tokens_per_s_per_user", "tokens/s", "1 / mean TPOT."),
        ("output_tokens_per_s_per_card", "tokens/s", "output_throughput / cards."),
        ("mean_batch_size", "requests", "Mean number of requests in a step of a slot."),
        ("peak_kv_fraction", "1", "Largest share of a replica's KV blocks in use."),
        ("mbu", "1", f"{MBU} All cards with a rank, idle time included."),
        ("mfu", "1", f"{MFU} All cards with a rank, idle time included."),
    ):
        yield real(name, unit, meaning, True)
    yield whole("preemptions", "times", "Preemptions of all counted requests.")
    yield whole("rejected", "requests", "Requests refused: too long, or too much KV.")
    yield real("prefix_hit_rate", "1", "Share of prompt tokens found in the cache.", True)
    for bound in device.bound_names:
        yield real(f"bound_share.{bound}", "1", f"Share of busy time bound by {bound}.", True)
    for family, words in LATENCY_SHARES.items():
        for cause in causes_of(device):
            yield real(f"{family}.{cause.name}", "1", f"{words}: {cause.meaning}.", True)
    for name, unit, meaning in (
        ("mean_kv_transfer_ms", "ms", "Mean time from the end of a prefill to the KV's arrival."),
        ("p99_kv_transfer_ms", "ms", "99th percentile of that time."),
        ("kv_transfer_share_of_ttft", "1", "KV transfer time over all times to first token."),
    ):
        yield real(name, unit, meaning, True)
    yield whole("kv_transfer_bytes", "B", "KV moved between the pools.", True)
    for name, (unit, meaning) in KEYS.items():
        yield (whole if name == "sessions" else real)(name, unit, meaning, True)
    yield CLOCK
    yield from energy_columns(device)
    yield from cost_columns()
    yield from draft_columns()
    yield Column(name="flags", type="strings", unit="", meaning="Warnings.")


def summary_table(device: Device) -> Table:
    """Busy time shared out by the device's bounds, energy by its parts."""
    return Table(
        name="summary",
        meaning="One row: the run in numbers. Keys of vLLM's bench serve, then our own.",
        columns=tuple(_summary_columns(device)),
    )
