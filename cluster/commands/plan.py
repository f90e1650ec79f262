"""``corsair-sim plan``: the best way to lay a model on a cluster, found without simulating it."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.commands import terminal
from cluster.commands.plan_text import plan_text, shape

if TYPE_CHECKING:
    from cluster.studies.plan.space import Choices
    from cluster.studies.plan.study import Plans

app = typer.Typer()


class Objective(StrEnum):
    """What the best plan is best at."""

    tokens_per_s = "tokens_per_s"
    tokens_per_s_per_card = "tokens_per_s_per_card"
    tokens_per_s_per_user = "tokens_per_s_per_user"
    ttft = "ttft"
    tpot = "tpot"
    joules = "joules"
    cost = "cost"


@app.command()
def plan(  # noqa: PLR0913 - each is an option
    scenario: terminal.ScenarioFile = None,
    sets: terminal.Sets = None,
    slo: Annotated[
        str | None,
        typer.Option(
            help="Bounds of the means, in seconds [the scenario's].",
            metavar="tpot_s=0.01,ttft_s=0.2",
            show_default=False,
        ),
    ] = None,
    objective: Annotated[
        Objective, typer.Option(help="What to be best at.")
    ] = Objective.tokens_per_s,
    load: Annotated[
        str,
        typer.Option(
            help="Part of its capacity that each is scored at; offered: the scenario's rate "
            "[0.7, or the users of a closed loop].",
            metavar="PART|offered",
        ),
    ] = "auto",
    top: Annotated[int, typer.Option(min=1, help="How many to show.")] = 10,
    finalists: Annotated[
        int, typer.Option("--simulate", min=0, help="Simulate so many of the best.")
    ] = 0,
    tp: Annotated[
        str | None, typer.Option(help="Cards of a tensor group.", metavar="N,...")
    ] = None,
    pp: Annotated[str | None, typer.Option(help="Stages of a replica.", metavar="N,...")] = None,
    ep: Annotated[str | None, typer.Option(help="Groups of experts.", metavar="N,...")] = None,
    replicas: Annotated[
        str | None, typer.Option(help="Copies [powers of two, and most].", metavar="N,...")
    ] = None,
    seqs: Annotated[
        str | None,
        typer.Option(
            "--max-num-seqs", help="Seats of a replica [81 from 1 to 1,024].", metavar="N,N-N,..."
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--max-num-batched-tokens", help="Budgets [128 to 2,048].", metavar="N,N-N,..."
        ),
    ] = None,
    modes: Annotated[
        str | None,
        typer.Option(
            help="Memory modes [performance,capacity]; also auto, which takes long.",
            metavar="MODE,...",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Formats of weights [mxint8,mxint4].", metavar="F,...")
    ] = None,
    kv: Annotated[
        str | None, typer.Option(help="Formats of KV [mxint8,mxint4].", metavar="F,...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all candidates as Parquet.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write the best as a scenario file.")
    ] = None,
    smallest: Annotated[
        bool,
        typer.Option("--min-cards", help="Instead: the smallest cluster for the scenario's plan."),
    ] = False,
    fastest: Annotated[
        bool,
        typer.Option("--max-rate", help="Instead: the most traffic that its cluster sustains."),
    ] = False,
    attainment: Annotated[
        float | None,
        typer.Option(
            help="With these two: part of requests within the SLO [p99 of each].", metavar="PART"
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace", help="Requests of this trace: short for --set workload.trace=FILE."
        ),
    ] = None,
    explained: Annotated[
        bool,
        typer.Option("--explain", help="Show where everything of the best lies in memory."),
    ] = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Rank every legal plan, memory mode, format and batch for a model on a cluster."""
    from cluster import load as load_scenario
    from cluster.studies.plan.rank import slo_of
    from cluster.studies.plan.study import plan as study

    asked = load_scenario(scenario, sets=[*(sets or ()), *_of_trace(trace)])
    bounds = slo_of(slo) if slo else None
    if smallest or fastest:
        if smallest and fastest:
            raise typer.BadParameter("--min-cards and --max-rate are two questions: ask one")
        from cluster.commands.capacity import answer

        question = "min-cards" if smallest else "max-rate"
        wanted = question, bounds, attainment
        answer(asked, wanted, explained=explained, as_json=as_json, quiet=quiet)
        return
    given = {
        "tensor_parallel_size": _numbers("--tp", tp),
        "pipeline_parallel_size": _numbers("--pp", pp),
        "expert_parallel_size": _numbers("--ep", ep),
        "replicas": _numbers("--replicas", replicas),
        "max_num_seqs": _numbers("--max-num-seqs", seqs),
        "max_num_batched_tokens": _numbers("--max-num-batched-tokens", tokens),
        "memory_mode": _words(modes),
        "weights": _words(weights),
        "kv": _words(kv),
    }
    found = study(
        asked,
        slo=bounds,
        load_at=_load(load),
        objective=objective.value,
        choices=_choices(given),
        finalists=finalists,
        progress=_progress(shown=not (quiet or as_json)),
    )
    best = [found.candidate(int(row)) for row in found.order[:top]]
    if out is not None:
        found.save(out)
    if write is not None:
        _write(found, best, write)
    payload, text = _payload(found, best), plan_text(found, best, out, write)
    if explained:
        text += "\n" + _explain(found, best, payload)
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _of_trace(path: Path | None) -> list[str]:
    """The word that makes a trace the workload's source; quoted, since it is read as YAML."""
    return [] if path is None else [f"workload.trace={json.dumps(str(path), ensure_ascii=False)}"]


def _explain(found: "Plans", best: Sequence[Mapping[str, Any]], payload: dict[str, Any]) -> str:
    """Put the memory map of the best into the payload, and tell it."""
    from cluster.scenario.resolve import resolve
    from cluster.studies.explain import explain, explain_text

    payload["explain"] = explain(resolve(found.scenario(best[0]))) if best else None
    if not best:
        return ""
    return f"\nMemory of the best, {shape(best[0])}:\n\n{explain_text(payload['explain'])}"


def _choices(given: Mapping[str, Sequence[Any] | None]) -> "Choices":
    from cluster.studies.plan.space import Choices

    return Choices(**{name: values for name, values in given.items() if values is not None})  # type: ignore[arg-type]


def _numbers(option: str, words: str | None) -> tuple[int, ...] | None:
    """Read ``1,2,8-16``."""
    if words is None:
        return None
    found: list[int] = []
    for word in words.split(","):
        low, dash, high = word.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or int(low) < 1:
            raise typer.BadParameter(f"{option}: whole numbers such as 1,2,8-16, got {word!r}")
        found += range(int(low), int(high if dash else low) + 1)
    return tuple(found)


def _words(words: str | None) -> tuple[str, ...] | None:
    return tuple(word.strip() for word in words.split(",")) if words else None


def _load(word: str) -> Any:
    if word in ("auto", "offered"):
        return word
    try:
        return float(word)
    except ValueError:
        raise typer.BadParameter(f"--load is a number or offered, got {word!r}") from None


def _progress(*, shown: bool) -> Any:
    """Say now and then how far it is."""
    from time import monotonic

    said = [monotonic()]

    def tell(done: int, of: int) -> None:
        if shown and monotonic() - said[0] > 2:
            said[0] = monotonic()
            terminal.note(f"{done} of {of} shapes priced and scored")

    return tell


def _write(found: "Plans", best: Sequence[Mapping[str, Any]], path: Path) -> None:
    from cluster.scenario.load import ScenarioError
    from cluster.studies.plan.chosen import write_scenario

    if not best:
        raise ScenarioError(f"--write {path}: no candidate meets the SLO")
    write_scenario(found.scenario(best[0]), path)


def _payload(found: "Plans", best: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scored = found.scored
    return {
        "model": found.resolved.model.name,
        "cards": scored.cards,
        "slo": dict(found.slo),
        "scored": len(scored.shape),
        "pricing_s": scored.pricing_s,
        "scoring_s": scored.scoring_s,
        "infeasible": found.infeasible,
        "candidates": list(best),
        "pareto": [found.candidate(int(row)) for row in found.columns["pareto"].nonzero()[0]],
        "simulated": [
            {
                "candidate": dict(each.candidate),
                "summary": dict(each.summary),
                "errors": each.errors,
            }
            for each in found.verified
        ],
    }
