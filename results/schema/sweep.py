"""The table ``points`` of a sweep: identity, status, axes and metrics of each point."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from results.schema.column import Column, Table, TypeName, real, whole, word

NotRun: TypeAlias = Literal["infeasible", "failed"]
Ended: TypeAlias = Literal["completed"] | NotRun
PointStatus: TypeAlias = Ended | Literal["skipped"]

POINT_STATUSES: tuple[PointStatus, ...] = ("completed", *get_args(NotRun), "skipped")
"""Of a point: it ran; it cannot run (does not fit); its input is wrong or it died; left out."""


def _word(name: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name=name, type="string", unit="", meaning=meaning, nullable=nullable)


IDENTITY = (
    whole("point", "", "Number of the point in its sweep, from 0."),
    _word("run_id", "Identity of the run's content; null if the input is invalid.", True),
    _word("reason", "Why it is not completed; null if it is.", True),
    real("seconds", "s", "Wall time of the point; null if it was not run.", True),
    _word("host", "Host that ran it; null if it was not run.", True),
)
"""Columns before the axes. ``status`` is in the folder's name: ``status=completed``."""

SPECIAL = ("run_id", "model_version")
"""Columns of a run's summary that points do not repeat as metrics."""


def sweep_table(axes: Mapping[str, TypeName], metrics: Sequence[Column]) -> Table:
    """The table of one sweep: ``axes`` are dotted paths of the scenario with their types."""
    return Table(
        name="points",
        meaning="One row per point of a sweep: its axes as dotted paths of the scenario, then the"
        " summary of its run.",
        columns=(
            *IDENTITY,
            *(
                Column(name=path, type=type_, unit="", meaning="Axis of the sweep.", nullable=True)
                for path, type_ in axes.items()
            ),
            *(
                Column(
                    name=metric.name,
                    type="string" if metric.type == "category" else metric.type,
                    unit=metric.unit,
                    meaning=metric.meaning,
                    nullable=True,
                )
                for metric in metrics
            ),
        ),
    )


CANDIDATES = Table(
    name="candidates",
    meaning="One row per legal, scored candidate of a plan study; speeds are analytic means, but "
    "for simulated_*, which are null where a candidate was not simulated.",
    columns=(
        whole("tensor_parallel_size", "cards", "Cards that share every layer of a stage."),
        whole("pipeline_parallel_size", "", "Stages of a replica."),
        whole("expert_parallel_size", "", "Subgroups of a tensor group with whole experts."),
        whole("replicas", "", "Equal copies."),
        word("memory_mode", "Where weights lie."),
        word("weights", "Number format of weights."),
        word("activations", "Number format of activations."),
        word("kv", "Number format of the KV cache."),
        real(
            "sqnr_db",
            "dB",
            "Signal over quantisation noise of its coarsest format of weights, activations or KV, "
            "on normal numbers; null where none is stored in 4 bits or fewer.",
            True,
        ),
        real("sqnr_heavy_tailed_db", "dB", "The same on Student's t, 4 degrees of freedom.", True),
        whole("max_num_seqs", "", "Seats of a replica."),
        whole("max_num_batched_tokens", "tokens", "Budget of a step of a slot."),
        whole("cards", "cards", "Cards that the candidate uses."),
        real("request_rate_per_s", "1/s", "Requests that come, at which it is scored."),
        real("ttft_ms", "ms", "Mean time to first token."),
        real("tpot_ms", "ms", "Mean time per output token; null where answers have one.", True),
        real("output_throughput", "tokens/s", "Output tokens a second of all replicas."),
        real("capacity_output_throughput", "tokens/s", "The same where no seat is ever empty."),
        real("output_tokens_per_s_per_card", "tokens/s", "Throughput over the cards it uses."),
        real("output_tokens_per_s_per_user", "tokens/s", "Of one answer: 1 / TPOT.", True),
        real("joules_per_output_token", "J", "Energy of the cards it uses.", True),
        real("power_w", "W", "Of the servers it uses with their racks, without the building."),
        real("cost_per_hour_usd", "USD", "Of the servers it uses, written off, and their power."),
        real("cost_per_hour_usd_low", "USD", "The same, every uncertain figure at its cheapest."),
        real("cost_per_hour_usd_high", "USD", "The same, every uncertain figure at its dearest."),
        real("cost_per_million_output_tokens_usd", "USD", "Of a million output tokens."),
        real("cost_per_million_output_tokens_usd_low", "USD", "The same at the cheapest."),
        real("cost_per_million_output_tokens_usd_high", "USD", "The same at the dearest."),
        real("mean_requests", "", "Requests in a replica, on the mean."),
        whole("kv_blocks", "blocks", "KV blocks of a replica."),
        whole("headroom_bytes", "B", "SRAM left on the tightest chiplet beside a full pool."),
        Column(
            name="meets_slo", type="bool", unit="", meaning="Its means are within every objective."
        ),
        Column(
            name="pareto",
            type="bool",
            unit="",
            meaning="No other that meets the SLO has more tokens/s/user and tokens/s/card.",
        ),
        real("simulated_ttft_ms", "ms", "Mean time to first token in the simulation.", True),
        real("simulated_tpot_ms", "ms", "Mean time per output token in the simulation.", True),
        real("simulated_output_throughput", "tokens/s", "In the simulation.", True),
        real("simulated_p99_ttft_ms", "ms", "99th percentile in the simulation.", True),
        real("simulated_p99_tpot_ms", "ms", "99th percentile in the simulation.", True),
        real("simulated_slo_attainment", "", "Part of the requests within every bound.", True),
        real("simulated_excess", "", "The largest 99th percentile over its bound.", True),
    ),
)
