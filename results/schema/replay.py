"""Tables of a run of ``replay``."""

from collections.abc import Iterator

from results.devices import Device
from results.schema.column import CARD, CARD_ROWS, RUN, Column, Table, index, real, whole, word
from results.schema.serving import CLOCK, energy_columns, part_columns

OTHER_CAUSES = ("latency", "contention", "recorded")
"""What the critical path waits for beside the bounds of a device: it is the same on all."""

OPS = Table(
    name="ops",
    meaning="One row per operation, card by card, in the order of the program. On a plain network"
    " a card is a rank.",
    rows_per_group=CARD_ROWS,
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
        word("bound", "What sets its time: a bound, or recorded."),
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


def card_times_table(device: Device) -> Table:
    """Energy by the device's parts."""
    return Table(
        name="card_times",
        meaning="One row per rank: how its card spends the run. Intervals are joined, so no time"
        " counts twice; compute + communication - overlap + idle = makespan.",
        columns=(
            index("rank", "Rank of the program."),
            *CARD,
            index("replica", "Copy of the model that it serves.", True),
            index("stage", "Pipeline stage that it serves.", True),
            real("compute_s", "s", "At work, or preparing to communicate."),
            real("communication_s", "s", "In a transfer that is under way; waiting is none."),
            real("overlap_s", "s", "Both at once."),
            real("idle_s", "s", "Neither: the bubble."),
            *part_columns(device, "Energy of the card"),
        ),
    )


def causes_of(device: Device) -> tuple[str, ...]:
    """All that the critical path can wait for; the position is the code that the engine gives."""
    return (*device.bound_names, *OTHER_CAUSES)


def critical_table(device: Device) -> Table:
    """With the device's causes as codes."""
    return Table(
        name="critical",
        meaning="The critical path taken apart: one row per step, cause and link. Times add up to"
        " the makespan.",
        columns=(
            index("step", "Step of the operation that is waited for."),
            word(
                "cause",
                "A bound, latency, contention with others, or a recorded time.",
                causes_of(device),
            ),
            word("link_name", "Link or capacity that is waited for; empty where none is."),
            real("time_s", "s", "Time of the path."),
            real("share", "1", "time_s over the makespan."),
        ),
    )


def _replay_columns(device: Device) -> Iterator[Column]:
    yield from RUN
    yield real("makespan_s", "s", "From the start to the end of the last operation.")
    yield whole("operations", "", "Operations replayed.")
    yield whole("ranks", "", "Ranks of the program.")
    yield whole("steps", "", "Passes over the model.")
    yield real("mean_step_s", "s", "makespan_s / steps.")
    yield real("steady_step_s", "s", "Mean step_s of all steps but the first.", True)
    yield real("operations_per_s", "1/s", "operations / makespan_s: of simulated time.", True)
    yield real("compute_share", "1", "Mean part of the run that a card computes.")
    yield real("communication_share", "1", "Mean part of the run that a card communicates.")
    yield real("overlap_share", "1", "Part of the communication that is hidden by compute.", True)
    yield real("bubble_share", "1", "Mean part of the run that a card is idle.")
    for cause in causes_of(device):
        yield real(f"critical_share.{cause}", "1", f"Share of the critical path: {cause}.", True)
    yield CLOCK
    yield from energy_columns(device)
    yield Column(name="flags", type="strings", unit="", meaning="What a reader should beware of.")


def replay_table(device: Device) -> Table:
    """The critical path shared out by the device's bounds, energy by its parts."""
    return Table(
        name="replay",
        meaning="One row: the replay in numbers.",
        columns=tuple(_replay_columns(device)),
    )
