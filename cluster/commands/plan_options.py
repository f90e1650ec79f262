"""The options of ``corsair-sim plan``, and how their words are read."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.scenario.memory_modes import UNIFORM_MODES

if TYPE_CHECKING:
    from cluster.studies.plan.space import Choices


class Objective(StrEnum):
    """What the best plan is best at."""

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
        help="Bounds of the means, in seconds [the scenario's].",
        metavar="tpot_s=0.01,ttft_s=0.2",
        show_default=False,
    ),
]
BestAt = Annotated[Objective, typer.Option(help="What to be best at.")]
Load = Annotated[
    str,
    typer.Option(
        help="Part of its capacity that each is scored at; offered: the scenario's rate "
        "[0.7, or the users of a closed loop].",
        metavar="PART|offered",
    ),
]
Top = Annotated[int, typer.Option(min=1, help="How many to show.")]
Finalists = Annotated[int, typer.Option("--simulate", min=0, help="Simulate so many of the best.")]
TensorGroups = Annotated[str | None, typer.Option(help="Cards of a tensor group.", metavar="N,...")]
Stages = Annotated[str | None, typer.Option(help="Stages of a replica.", metavar="N,...")]
ExpertGroups = Annotated[str | None, typer.Option(help="Groups of experts.", metavar="N,...")]
Replicas = Annotated[
    str | None, typer.Option(help="Copies [powers of two, and most].", metavar="N,...")
]
Seats = Annotated[
    str | None,
    typer.Option(
        "--max-num-seqs", help="Seats of a replica [81 from 1 to 1,024].", metavar="N,N-N,..."
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option("--max-num-batched-tokens", help="Budgets [128 to 2,048].", metavar="N,N-N,..."),
]
Modes = Annotated[
    str | None,
    typer.Option(
        help=f"Memory modes [{','.join(UNIFORM_MODES)}]; also auto, which takes long.",
        metavar="MODE,...",
    ),
]
Weights = Annotated[
    str | None, typer.Option(help="Formats of weights [mxint8,mxint4].", metavar="F,...")
]
Kv = Annotated[str | None, typer.Option(help="Formats of KV [mxint8,mxint4].", metavar="F,...")]
Out = Annotated[Path | None, typer.Option("--out", help="Write all candidates as Parquet.")]
Write = Annotated[Path | None, typer.Option("--write", help="Write the best as a scenario file.")]
Smallest = Annotated[
    bool,
    typer.Option("--min-cards", help="Instead: the smallest cluster for the scenario's plan."),
]
Fastest = Annotated[
    bool,
    typer.Option("--max-rate", help="Instead: the most traffic that its cluster sustains."),
]
Attainment = Annotated[
    float | None,
    typer.Option(
        help="With these two: part of requests within the SLO [p99 of each].", metavar="PART"
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option("--trace", help="Requests of this trace: short for --set workload.trace=FILE."),
]
Explained = Annotated[
    bool, typer.Option("--explain", help="Show where everything of the best lies in memory.")
]

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
"""What may vary, and the option of each that is whole numbers; the others are names."""


def choices_of(inputs: Mapping[str, str | None]) -> "Choices":
    """What may vary, from the words of the options; those that were not given stay free.

    Raises
    ------
    typer.BadParameter
        Words that are no whole numbers of at least 1 where such are wanted.
    """
    from cluster.studies.plan.space import Choices

    read: dict[str, Any] = {
        name: _numbers(CHOICES[name], words) if CHOICES[name] else _names(words)
        for name, words in inputs.items()
        if words is not None
    }
    return Choices(**{name: values for name, values in read.items() if values})


def load_of(word: str) -> Any:
    """Read ``--load``: a number, or one of the words that ``plan`` knows."""
    if word in ("auto", "offered"):
        return word
    try:
        return float(word)
    except ValueError:
        raise typer.BadParameter(f"--load is a number or offered, got {word!r}") from None


def sets_of_trace(path: Path | None) -> list[str]:
    """The word that makes a trace the workload's source; quoted, since it is read as YAML."""
    return [] if path is None else [f"workload.trace={json.dumps(str(path), ensure_ascii=False)}"]


def _numbers(option: str, words: str) -> tuple[int, ...]:
    """Read ``1,2,8-16``."""
    found: list[int] = []
    for word in words.split(","):
        low, dash, high = word.strip().partition("-")
        whole = low.isdecimal() and (high.isdecimal() or not dash)
        if not whole or not 1 <= int(low) <= int(high or low):
            raise typer.BadParameter(f"{option}: whole numbers such as 1,2,8-16, got {word!r}")
        found += range(int(low), int(high if dash else low) + 1)
    return tuple(found)


def _names(words: str) -> Sequence[str]:
    return tuple(word.strip() for word in words.split(",")) if words else ()
