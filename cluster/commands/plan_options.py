"""The options of ``corsair-sim plan``, and their parsers."""

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.scenario.memory_modes import UNIFORM_MODES

if TYPE_CHECKING:
    from cluster.studies.plan.space import Choices


class Objective(StrEnum):
    """Objectives of the ranking."""

    tokens_per_s = "tokens_per_s"
    tokens_per_s_per_card = "tokens_per_s_per_card"
    tokens_per_s_per_user = "tokens_per_s_per_user"
    ttft = "ttft"
    tpot = "tpot"
    joules = "joules"
    cost = "cost"


Slo = Annotated[
    str | None,
    typer.Option(
        help="Bounds in seconds: of the means for scores, of p99 for simulations [the scenario's].",
        metavar="tpot_s=0.01,ttft_s=0.2",
        show_default=False,
    ),
]
BestAt = Annotated[Objective, typer.Option(help="Objective of the ranking.")]
Load = Annotated[
    str,
    typer.Option(
        help="Fraction of saturation at which each is scored; offered: the scenario's rate "
        "[0.7, or the users of a closed loop].",
        metavar="PART|offered",
    ),
]
Top = Annotated[int, typer.Option(min=1, help="Number of candidates to show.")]
Finalists = Annotated[
    int,
    typer.Option(
        "--simulate",
        min=0,
        help="Plans to simulate at least, and on until one meets the SLO; 0: scores alone.",
    ),
]
TensorGroups = Annotated[str | None, typer.Option(help="Cards of a tensor group.", metavar="N,...")]
Stages = Annotated[str | None, typer.Option(help="Stages of a replica.", metavar="N,...")]
ExpertGroups = Annotated[str | None, typer.Option(help="Groups of experts.", metavar="N,...")]
Replicas = Annotated[
    str | None, typer.Option(help="Replicas [powers of two, and the maximum].", metavar="N,...")
]
Seats = Annotated[
    str | None,
    typer.Option("--max-num-seqs", help="Of a replica [81 from 1 to 1,024].", metavar="N,N-N,..."),
]
Budgets = Annotated[
    str | None,
    typer.Option("--max-num-batched-tokens", help="Budgets [128 to 2,048].", metavar="N,N-N,..."),
]
Modes = Annotated[
    str | None,
    typer.Option(
        help=f"Memory modes [{','.join(UNIFORM_MODES)}, where there are two memories]; also auto, "
        "which takes long.",
        metavar="MODE,...",
    ),
]
Weights = Annotated[
    str | None, typer.Option(help="Formats of weights [the hardware file's].", metavar="F,...")
]
Kv = Annotated[
    str | None, typer.Option(help="Formats of KV [the hardware file's].", metavar="F,...")
]
Out = Annotated[Path | None, typer.Option("--out", help="Write all candidates as Parquet.")]
Write = Annotated[Path | None, typer.Option("--write", help="Write the best as a scenario file.")]
Page = Annotated[Path | None, typer.Option("--report", help="Write the result as one HTML page.")]
Smallest = Annotated[
    bool,
    typer.Option("--min-cards", help="Instead: the smallest cluster, and its plan."),
]
Fastest = Annotated[
    bool,
    typer.Option("--max-rate", help="Instead: the highest rate that its cluster sustains."),
]
KeepPlan = Annotated[
    bool,
    typer.Option("--keep-plan", help="With these two: keep the scenario's plan, search no other."),
]
Against = Annotated[
    str | None,
    typer.Option(
        help="Instead: this hardware (a name of `hardware list`, or a file) for the same traffic "
        "and SLO; both with their fewest cards, odds, and the price of a card that turns it.",
        metavar="HARDWARE",
        show_default=False,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(min=0, help="With --against: joint draws [32].", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, help="With --against: seed of the draws [0].", show_default=False),
]
Machines = Annotated[
    Path | None,
    typer.Option(
        help="With --against: draw from the possible machines that `calibrate --machines FILE` "
        "wrote, for the side whose hardware they are.",
        show_default=False,
    ),
]
Attainment = Annotated[
    float | None,
    typer.Option(
        help="Fraction of simulated requests within the SLO [p99 of each].", metavar="PART"
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option("--trace", help="Requests of this trace: short for --set workload.trace=FILE."),
]
Explained = Annotated[
    bool, typer.Option("--explain", help="Show the memory placement of the best.")
]

MOST_VALUES = 4096
"""Of one option, as ranges are written out."""
MOST_VALUE = 2**20
MOST_COMBINATIONS = 2**16
"""Of the values of all options: each is a candidate for every shape of the plan."""
CHOICES = {
    "tensor_parallel_size": "--tp",
    "pipeline_parallel_size": "--pp",
    "expert_parallel_size": "--ep",
    "replicas": "--replicas",
    "max_num_seqs": "--max-num-seqs",
    "max_num_batched_tokens": "--max-num-batched-tokens",
    "memory_mode": "",
    "weights": "",
    "kv": "",
}
"""Searched keys, and the option of each that takes integers; the others take names."""


def choices_of(inputs: Mapping[str, str | None]) -> "Choices":
    """The search space from the options; omitted ones keep their defaults.

    Raises
    ------
    typer.BadParameter
        Values that are not integers of at least 1 where these are needed.
    """
    from cluster.studies.plan.space import Choices

    read: dict[str, Any] = {
        name: _numbers(CHOICES[name], words) if CHOICES[name] else _names(words)
        for name, words in inputs.items()
        if words is not None
    }
    combined = math.prod(len(values) for values in read.values() if values)
    if combined > MOST_COMBINATIONS:
        raise typer.BadParameter(
            f"the options combine to {combined:,} candidates; at most {MOST_COMBINATIONS:,} are "
            "searched: list fewer values"
        )
    return Choices(**{name: values for name, values in read.items() if values})


def load_of(word: str) -> Any:
    """Read ``--load``: a number, or one of the words that ``plan`` accepts."""
    if word in ("auto", "offered"):
        return word
    try:
        return float(word)
    except ValueError:
        raise typer.BadParameter(f"--load is a number or offered, got {word!r}") from None


def sets_of_trace(path: Path | None) -> list[str]:
    """The override that selects a trace as workload; quoted, since it is read as YAML."""
    return [] if path is None else [f"workload.trace={json.dumps(str(path), ensure_ascii=False)}"]


def _numbers(option: str, words: str) -> tuple[int, ...]:
    """Read ``1,2,8-16``."""
    found: list[int] = []
    for word in words.split(","):
        low, dash, high = word.strip().partition("-")
        whole = _is_number(low) and (_is_number(high) or not dash)
        if not whole or not 1 <= int(low) <= int(high or low):
            raise typer.BadParameter(f"{option}: whole numbers such as 1,2,8-16, got {word!r}")
        values = range(int(low), int(high if dash else low) + 1)
        if values[-1] > MOST_VALUE or len(found) + len(values) > MOST_VALUES:
            raise typer.BadParameter(
                f"{option}: {word!r} has {len(values):,} values up to {values[-1]:,}; at most "
                f"{MOST_VALUES:,} values up to {MOST_VALUE:,} are searched"
            )
        found += values
    return tuple(found)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 20


def _names(words: str) -> Sequence[str]:
    return tuple(word.strip() for word in words.split(",")) if words else ()


def draws_of(samples: int | None, seed: int | None, machines: Path | None) -> dict[str, Any]:
    """The draws of ``--against`` that are named."""
    from cluster.studies.machine_set import read_machines

    named = {"samples": samples, "seed": seed}
    found: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return found if machines is None else {**found, "machines": read_machines(machines)}
