"""``corsair-sim check``: fit, expected performance, running time of the simulation."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.scenario.resolve import Resolved

app = typer.Typer()


@app.command()
def check(
    scenario: terminal.ScenarioFile = None,
    sets: terminal.Sets = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Check a scenario without running it; exit 3 with the shortfall if it does not fit."""
    from cluster import load
    from cluster.scenario.resolve import resolve
    from cluster.scenario.warmup import check_warmup

    requested = load(scenario, sets=sets or ())
    resolved = resolve(requested)
    check_warmup(resolved)
    if resolved.pools is None:
        found, lines = _one(resolved)
    else:
        found, lines = _two(resolved)
    text = "\n".join([f"{requested.name} (run {resolved.run_id})", *lines])
    terminal.show(found, text, as_json=as_json, quiet=quiet)


def _one(resolved: "Resolved") -> tuple[dict[str, Any], list[str]]:
    from cluster.serving.estimate import forecast
    from cluster.serving.run import assemble

    found = forecast(resolved, assemble(resolved))
    lines = _lines(resolved, found)
    lines.append(
        f"The simulation will take about {found['seconds']:.0f} s "
        f"({found['requests']:,} requests, {found['output_tokens']:,} output tokens)"
    )
    return found, lines


def _two(resolved: "Resolved") -> tuple[dict[str, Any], list[str]]:
    """Check each pool as a separate cluster."""
    from cluster.disaggregated.placement import assemble_pools
    from cluster.scenario.pools import POOLS
    from cluster.serving.estimate import forecast
    from cluster.serving.run import assemble

    machine = assemble_pools(resolved, (assemble, assemble))
    lines, found = list[str](), dict[str, Any]()
    for name, pool, own in zip(POOLS, resolved.pools or (), machine.pools, strict=True):
        found[name] = forecast(pool, own)
        lines += ["", f"pools.{name}:", *_lines(pool, found[name])]
    seconds = sum(each["seconds"] for each in found.values())
    lines += ["", f"The simulation will take about {seconds:.0f} s, and the transfers"]
    return {"run_id": resolved.run_id, "seconds": seconds, "pools": found}, lines


def _lines(resolved: "Resolved", found: dict[str, Any]) -> list[str]:
    """What is found of one machine; where everything lies is added to ``found``."""
    from cluster.commands.summary import plan_words
    from cluster.studies.explain import explain, explain_text

    found["placement"] = explain(resolved)
    scheduler = resolved.scenario.scheduler
    return [
        f"{resolved.model.name} on {found['cards']} cards: {plan_words(resolved.plan)}, "
        f"{found['spare_cards']} spare",
        "",
        "Memory of the fullest chiplet of each stage:",
        terminal.table(
            ("stage", "layers", "weights MB", "in", "SRAM MB", "KV blocks", "left over MB"),
            _rows(found["stages"]),
        ),
        "",
        explain_text(found["placement"]),
        "",
        f"KV: {found['kv_blocks']:,} blocks of {scheduler.block_size} tokens a replica, "
        f"{found['kv_tokens_per_seq']:,} tokens for each of {scheduler.max_num_seqs} "
        f"sequences; {found['kv_sequences']:,} of {found['context']:,} tokens fit at once",
        f"Full decode at a context of {found['context']:,}: {found['decode_tpot_ms']:.3f} ms "
        f"between tokens, {found['decode_tokens_per_s']:,.0f} tokens/s a replica",
        f"Prefill: {found['prefill_tokens_per_s']:,.0f} tokens/s a replica",
        _load(found),
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


def _load(found: dict[str, object]) -> str:
    load = found["utilisation"]
    if not isinstance(load, float):
        return "Load: a closed loop sends on completion"
    said = f"Load: about {100 * load:.0f} % of what a full replica can do"
    return said + ("; queues will grow without limit" if load > 1 else "")
