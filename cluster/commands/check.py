"""``corsair-sim check``: fit, expected performance, running time of the simulation."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.perf_model.memory import StageMemory
    from cluster.scenario.resolve import Resolved, ResolvedReplay
    from cluster.serving.run import Layout
    from cluster.studies.plan.estimate import Estimate

app = typer.Typer()

MB = 1e6
SOME = 0.05
"""Of the weights in the near memory: less is but norms."""
START_S = 1.5
"""Imports, reading and writing. This and the three below were fitted by eye to five runs on a
two-core machine (2.5 to 7.1 s), of which they tell the length to about a third."""
STEP_S = 0.4e-6
"""To simulate one step."""
STAGE_S = 0.06e-6
"""To simulate and account for one step at one stage."""
ROW_S = 10e-9
"""To simulate one row of a step."""


@app.command()
def check(
    scenario: terminal.ScenarioFile = None,
    sets: terminal.Sets = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Check a scenario without running it; exit 3 with the shortfall if it does not fit."""
    from cluster import load
    from cluster.scenario.resolve import Resolved, resolve

    requested = load(scenario, sets=sets or ())
    resolved = resolve(requested, wanted="either")
    found, lines = _served(resolved) if isinstance(resolved, Resolved) else _replayed(resolved)
    found["plan_reasons"] = list(resolved.plan_reasons)
    text = "\n".join([f"{requested.name} (run {found['run_id']})", *lines])
    if requested.speculative is not None:
        found["speculative"] = "not in the estimate"
        text += (
            "\nThe estimate is of a run without drafts (speculative); memory counts the draft model"
        )
    terminal.show(found, text, as_json=as_json, quiet=quiet)
    for reason in resolved.plan_reasons:
        terminal.note(f"note: {reason}")


def _served(resolved: "Resolved") -> tuple[dict[str, Any], list[str]]:
    """A machine, or each pool as a machine of its own."""
    from cluster.scenario.pools import POOLS
    from cluster.scenario.trust import trust_of
    from cluster.scenario.warmup import check_warmup
    from cluster.studies.remaining import remaining

    check_warmup(resolved)
    left = remaining(resolved)
    down = {"remaining": left.plain()} if left else {}
    left_lines = ["", *left.lines()] if left else []
    if resolved.pools is None:
        found, lines = _machine(resolved)
        lines += left_lines
        lines.append(
            f"The simulation will take about {found['seconds']:.0f} s "
            f"({found['requests']:,} requests, {found['output_tokens']:,} output tokens)"
        )
        return found | down, lines
    from cluster.studies.kv_delay import kv_delay

    pools, lines = dict[str, Any](), list[str]()
    for name, pool in zip(POOLS, resolved.pools, strict=True):
        pools[name], own = _machine(pool, f"pools.{name}: ")
        lines += ["", f"pools.{name}:", *own]
    delay, trust = kv_delay(resolved), trust_of(resolved)
    lines += ["", delay.line(), f"trust: {trust.sentence}", *left_lines]
    seconds = math.fsum(each["seconds"] for each in pools.values())
    lines += ["", f"The simulation will take about {seconds:.0f} s, and the transfers"]
    found = {
        "run_id": resolved.run_id,
        "seconds": seconds,
        "pools": pools,
        "kv_transfer": delay.plain(),
    }
    return found | {"trust": trust.plain()} | down, lines


def _machine(resolved: "Resolved", named: str = "") -> tuple[dict[str, Any], list[str]]:
    """Plain values and lines; errors have the name of the pool in front."""
    from cluster.scenario.trust import trust_lines, trust_of
    from cluster.serving.run import lay_out
    from cluster.studies.best_plan import beaten
    from cluster.studies.explain import explain
    from cluster.studies.plan.estimate import estimate
    from topology.power import power_density

    try:
        layout = lay_out(resolved)
        estimated = estimate(resolved, layout)
        placement = explain(resolved, layout)
    except ValueError as error:
        if not (named and hasattr(error, "exit_code")):
            raise
        raise type(error)(f"{named}{error}") from error
    trust = trust_of(resolved)
    found = _memory(resolved, layout) | _speed(resolved, estimated)
    density = power_density(resolved.hardware, resolved.hardware.figures)
    found |= {"placement": placement, "trust": trust.plain()}
    found["power_density"] = density and density.plain()
    cards = found["cards"] - found["spare_cards"]
    found["beats_published"] = (
        beaten(resolved, cards, found["tpot_ms"], found["output_throughput"]) or None
    )
    means = {name: found[f"{name}_ms"] for name in ("tpot", "ttft")}
    lines = [*_lines(resolved, found), *trust_lines(trust, means)]
    if found["beats_published"]:
        lines.append(f"Warning: {found['beats_published']}")
    return found, [*lines, *([density.line()] if density and density.above else [])]


def _memory(resolved: "Resolved", layout: "Layout") -> dict[str, Any]:
    """What fits where."""
    import numpy as np

    from cluster.perf_model.memory.capacity import sequences_of, tokens_each

    requests, scheduler = resolved.requests, resolved.scenario.scheduler
    context = max(1, int(np.mean(requests.prompt_tokens + requests.output_tokens // 2)))
    capacity, size = layout.fit.capacity, scheduler.block_size
    cards = len(layout.routes.card_id if resolved.cards is None else resolved.cards)
    return {
        "run_id": resolved.run_id,
        "cards": cards,
        "spare_cards": cards - layout.cards.size,
        "stages": _stages(resolved, layout),
        "kv_blocks": layout.fit.blocks,
        "kv_tokens_per_seq": tokens_each(
            capacity, scheduler.max_num_seqs, size, resolved.max_model_len
        ),
        "context": context,
        "kv_sequences": sequences_of(capacity, context, size),
    }


def _stages(resolved: "Resolved", layout: "Layout") -> list[dict[str, Any]]:
    from workloads.plan import stage_layers

    layers = stage_layers(resolved.plan, resolved.model)
    from cluster.perf_model.devices import device_words

    left = layout.fit.headroom_bytes
    memories = device_words(resolved.hardware).memories
    return [
        {
            "stage": number,
            "layers": len(layers[number]),
            "weights_mb": stage.weight_bytes / MB,
            "where": _where(stage, memories),
            f"{memories[0]}_mb": stage.sram_bytes / MB,
            "kv_blocks": stage.blocks,
            "left_mb": left[number] / MB,
        }
        for number, stage in enumerate(layout.fit.stages)
    ]


def _where(stage: "StageMemory", memories: Sequence[str]) -> str:
    """Where the weights of a stage lie; norms and the like are in the near memory everywhere."""
    near, far = memories[0].upper(), memories[-1].upper()
    if not stage.lpddr_weight_bytes:
        return near
    share = stage.sram_weight_bytes / stage.weight_bytes
    return f"{far}, {100 * share:.0f} % {near}" if share >= SOME else far


def _speed(resolved: "Resolved", estimated: "Estimate") -> dict[str, Any]:
    """The estimate; ``seconds`` is how long it will take to simulate."""
    from cluster.studies.plan.estimate import FIGURES

    requests, scheduler, plan = resolved.requests, resolved.scenario.scheduler, resolved.plan
    prompts = 0 if resolved.role == "decode" else int(requests.prompt_tokens.sum())
    output = 0 if resolved.role == "prefill" else int(requests.output_tokens.sum())
    figures = estimated.figures
    tokens_per_s, tpot_ms = figures.get("output_throughput"), figures.get("tpot_ms")
    users = float(scheduler.max_num_seqs * plan.replicas)
    if tokens_per_s and tpot_ms:
        users = min(users, tokens_per_s * tpot_ms / 1e3)  # who decode at the same time
    rows = max(1.0, users / (plan.replicas * plan.pipeline_parallel_size))
    steps = output / rows + prompts / scheduler.max_num_batched_tokens
    each_s = STEP_S + plan.pipeline_parallel_size * STAGE_S
    return {
        **{name: figures.get(name) for name in FIGURES},
        "offered_request_rate_per_s": estimated.offered_per_s,
        "capacity_request_rate_per_s": estimated.capacity_per_s,
        "utilisation": estimated.load,
        "overloaded": estimated.overloaded,
        "users": resolved.concurrency or None,
        "refused": estimated.refused,
        "notes": list(estimated.notes),
        "not_estimated": estimated.unknown or None,
        "requests": len(requests),
        "output_tokens": output,
        "seconds": START_S + steps * each_s + output * ROW_S,
    }


def _lines(resolved: "Resolved", found: dict[str, Any]) -> list[str]:
    """What is found of one machine."""
    from cluster.commands.summary import plan_words
    from cluster.perf_model.devices import device_words
    from cluster.studies.explain import explain_text

    scheduler, device = resolved.scenario.scheduler, device_words(resolved.hardware)
    near = device.memory_label(0)
    return [
        f"{resolved.model.name} on {found['cards']} cards: {plan_words(resolved.plan)}, "
        f"{found['spare_cards']} spare",
        "",
        f"Memory of the fullest {device.unit} of each stage:",
        terminal.table(
            ("stage", "layers", "weights MB", "in", f"{near} MB", "KV blocks", "left over MB"),
            _rows(found["stages"]),
        ),
        "",
        explain_text(found["placement"]),
        "",
        f"KV: {found['kv_blocks']:,} blocks of {scheduler.block_size} tokens a replica, "
        f"{found['kv_tokens_per_seq']:,} tokens for each of {scheduler.max_num_seqs} "
        f"sequences; {found['kv_sequences']:,} of {found['context']:,} tokens fit at once",
        *_speed_lines(resolved, found),
    ]


def _rows(stages: list[dict[str, object]]) -> list[list[object]]:
    """One row per run of equal stages."""
    rows: list[list[object]] = []
    for _, run in groupby(stages, key=lambda stage: list(stage.values())[1:]):
        members = list(run)
        first, last = members[0], members[-1]
        name = f"{first['stage']}-{last['stage']}" if len(members) > 1 else str(first["stage"])
        rows.append([name, *list(first.values())[1:]])
    return rows


def _speed_lines(resolved: "Resolved", found: dict[str, Any]) -> list[str]:
    """Load, and means at it."""
    lines = []
    if found["refused"]:
        lines.append(f"Refused: {found['refused']:,} requests that are too long or have no room")
    if found["not_estimated"]:
        return [*lines, f"Speed: not estimated: {found['not_estimated']}"]
    most = f"{found['capacity_request_rate_per_s']:,.4g} requests/s"
    at = "At this load"
    if found["users"]:
        lines.append(f"Load: {found['users']:,} users, who are served {most}")
    elif found["utilisation"] is None:
        lines.append(f"Load: all requests come at once, and {most} are served")
        at = "With all seats taken"
    else:
        grow = "; queues will grow without end" if found["overloaded"] else ""
        lines.append(
            f"Load: {found['offered_request_rate_per_s']:,.4g} requests/s, "
            f"{100 * found['utilisation']:.0f} % of the {most} that can be served{grow}"
        )
        at = "With all seats taken" if found["overloaded"] else at
    means = _means(resolved, found, queueing=at != "At this load")
    lines.append(f"{at}, on the mean: {', '.join(means)}")
    return [*lines, *(f"Note: {note}" for note in found["notes"])]


def _means(resolved: "Resolved", found: dict[str, Any], *, queueing: bool) -> list[str]:
    """Those that the machine or pool has a part in; no TTFT where a queue grows."""
    means = []
    if resolved.role != "decode" and not queueing:
        means.append(f"TTFT {found['ttft_ms']:,.4g} ms")
    if resolved.role != "prefill":
        if found["tpot_ms"] is not None:
            means.append(f"TPOT {found['tpot_ms']:,.4g} ms")
        means.append(f"{found['output_throughput']:,.4g} tokens/s")
        means.append(f"{found['joules_per_output_token']:,.4g} J a token")
    return means or [f"{found['request_rate_per_s']:,.4g} requests/s"]


def _replayed(resolved: "ResolvedReplay") -> tuple[dict[str, Any], list[str]]:
    """An operation trace: how long it is, on what it runs, and the least time that it takes."""
    from cluster.replay.analysis import least_ps
    from cluster.replay.run import assemble_replay

    machine = assemble_replay(resolved)
    found: dict[str, Any] = {
        "run_id": resolved.run_id,
        "ranks": machine.program.ranks,
        "operations": len(machine.program),
        "least_makespan_s": least_ps(machine) * 1e-12,
    }
    return found, [
        f"{found['operations']:,} operations on {found['ranks']:,} ranks",
        f"It lasts at least {found['least_makespan_s'] * 1e3:,.4g} ms: the work of its busiest "
        "rank, without transfers and waiting",
    ]
