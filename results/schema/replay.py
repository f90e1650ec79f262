"""Tables of a run of ``replay``."""

from collections.abc import Iterator

from results.schema.column import BOUNDS, CARD, RUN, Column, Table, index, real, whole, word
from results.schema.serving import CLOCK, PART_WORDS, energy_columns

CAUSES = (*BOUNDS, "latency", "contention", "recorded")
"""Causes of time on the critical path; the position is the engine's code."""

OPS = Table(
    name="ops",
    meaning="One row per operation, a row group per card in card order, in the order of the"
    " program. On a plain network a card is a rank.",
    group_per_part=True,
    distinct=("op", "start_s", "begin_s", "end_s"),
    columns=(
        whole("op", "", "Number of the operation in the program."),
        *CARD,
        index("rank", "Rank of the program."),
        index("stream", "0 compute, 1 network, 2 memory, 3 sends, 4 receives, 5 host, others."),
        word("name", "Name of the operation."),
        word("kind", "matmul, attention, vector, load, store, send, recv or collective."),
        word("phase", "prefill, decode or mixed."),
        index("step", "Pass over the model."),
        index("layer", "Layer of the model.", True),
        index("microbatch", "Slot of the pipeline whose batch it works on."),
        word("bound", "Its bound, or recorded.", CAUSES),
        real("start_s", "s", "When it started."),
        real("begin_s", "s", "Arrival of the last rank that it waits for.", True),
        real("end_s", "s", "When it ended."),
        whole("flop", "1", "Multiplications and additions."),
        whole("read_bytes", "B", "Weights and KV read from memory."),
        whole("write_bytes", "B", "KV written to memory."),
        whole("payload_bytes", "B", "Bytes sent over links."),
    ),
)

STEP_TIMES = Table(
    name="step_times",
    meaning="One row per step of the program.",
    columns=(
        index("step", "Pass over the model."),
        real("start_s", "s", "When its first operation started."),
        real("end_s", "s", "When its last operation ended."),
        real("step_s", "s", "End of the previous step (for the first: start) to its end."),
    ),
)

CARD_TIMES = Table(
    name="card_times",
    meaning="One row per rank: time of its card by activity. Intervals are merged, so no time"
    " counts twice; compute + communication - overlap + idle = makespan.",
    columns=(
        index("rank", "Rank of the program."),
        *CARD,
        index("replica", "Copy of the model that it serves.", True),
        index("stage", "Pipeline stage that it serves.", True),
        real("compute_s", "s", "Computing, or preparing to communicate."),
        real("communication_s", "s", "In a transfer in progress; waiting is excluded."),
        real("overlap_s", "s", "Both at once."),
        real("idle_s", "s", "Neither: the bubble."),
        *(
            real(f"energy_{part}_j", "J", f"Energy of the card: {what}.", True)
            for part, what in PART_WORDS.items()
        ),
    ),
)

CRITICAL = Table(
    name="critical",
    meaning="The critical path by step, cause and link, one row each. Times add up to the"
    " makespan.",
    columns=(
        index("step", "Step of the operation that is waited for."),
        word("cause", "A bound, latency, contention with others, or a recorded time.", CAUSES),
        word("link_name", "Link or capacity that is waited for; empty if none."),
        real("time_s", "s", "Time of the path."),
        real("share", "1", "time_s over the makespan."),
    ),
)


def _replay_columns() -> Iterator[Column]:
    yield from RUN
    yield real("makespan_s", "s", "From the start to the end of the last operation.")
    yield whole("operations", "", "Operations replayed.")
    yield whole("ranks", "", "Ranks of the program.")
    yield whole("steps", "", "Passes over the model.")
    yield real("mean_step_s", "s", "makespan_s / steps.")
    yield real("steady_step_s", "s", "Mean step_s of all steps but the first.", True)
    yield real("operations_per_s", "1/s", "operations / makespan_s, in simulated time.", True)
    yield real("compute_share", "1", "Mean fraction of the run in which a card computes.")
    yield real("communication_share", "1", "Mean fraction of the run in which a card communicates.")
    yield real("overlap_share", "1", "Fraction of communication that overlaps with compute.", True)
    yield real("bubble_share", "1", "Mean fraction of the run in which a card is idle.")
    for cause in CAUSES:
        yield real(f"critical_share.{cause}", "1", f"Share of the critical path: {cause}.", True)
    yield CLOCK
    yield from energy_columns()
    yield Column(name="flags", type="strings", unit="", meaning="Warnings.")


REPLAY = Table(
    name="replay",
    meaning="One row: summary of the replay.",
    columns=tuple(_replay_columns()),
)
