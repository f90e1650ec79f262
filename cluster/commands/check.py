"""``corsair-sim check``: does it fit, what will it be like, how long will the simulation take."""

from itertools import groupby

import typer

from cluster.commands import terminal

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
    from cluster.assembly import assemble
    from cluster.forecast import forecast
    from cluster.scenario.resolve import resolve

    asked = load(scenario, sets=sets or ())
    resolved = resolve(asked)
    found = forecast(resolved, assemble(resolved))
    plan = resolved.plan
    shape = f"{plan.replicas} x (TP {plan.tensor_parallel_size} x PP {plan.pipeline_parallel_size})"
    text = "\n".join(
        [
            f"{asked.name} (run {resolved.run_id})",
            f"{resolved.model.name} on {found['cards']} cards: {shape}, "
            f"{found['spare_cards']} spare",
            "",
            "Memory of the fullest chiplet of each stage:",
            terminal.table(
                ("stage", "layers", "weights MB", "in", "SRAM MB", "KV blocks", "left over MB"),
                _rows(found["stages"]),
            ),
            "",
            f"KV: {found['kv_blocks']:,} blocks of {asked.scheduler.block_size} tokens a replica, "
            f"{found['kv_tokens_per_seq']:,} tokens for each of {asked.scheduler.max_num_seqs} "
            "sequences",
            f"Full decode at a context of {found['context']:,}: {found['decode_tpot_ms']:.3f} ms "
            f"between tokens, {found['decode_tokens_per_s']:,.0f} tokens/s a replica",
            f"Prefill: {found['prefill_tokens_per_s']:,.0f} tokens/s a replica",
            _load(found),
            f"The simulation will take about {found['seconds']:.0f} s "
            f"({found['requests']:,} requests, {found['output_tokens']:,} output tokens)",
        ]
    )
    terminal.show(found, text, as_json=as_json, quiet=quiet)


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
        return "Load: a closed loop sends as fast as it is answered"
    said = f"Load: about {100 * load:.0f} % of what the slowest stage can do"
    return said + ("; queues will grow without end" if load > 1 else "")
