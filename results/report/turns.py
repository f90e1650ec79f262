"""The table of a report with the turns of sessions."""

from collections.abc import Mapping
from typing import Any

from results.report.html import table
from results.sessions import by_turn


def turns_table(requests: Mapping[str, Any]) -> str:
    """What turns find in the prefix cache, and how long they wait; ``requests`` as the table."""
    found = by_turn(requests)
    rows = zip(
        (found["turn"] + 1).tolist(),
        found["requests"].tolist(),
        found["mean_prompt_tokens"].tolist(),
        (100 * found["hit_rate"]).tolist(),
        *((1e3 * found[name]).tolist() for name in ("mean_ttft_s", "p99_ttft_s", "mean_e2e_s")),
        strict=True,
    )
    names = ("turn", "requests", "mean prompt, tokens", "cached, %", "mean TTFT, ms")
    return table((*names, "p99 TTFT, ms", "mean end to end, ms"), rows)
