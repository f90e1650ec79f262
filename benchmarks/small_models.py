"""The tables of docs/studies/small-models.md: small models beside large ones, on one card and half.

``python benchmarks/small_models.py`` prints Markdown; a minute. Half of a card is emulated: one
package of four chiplets (``card.packages`` 1) with all else as it is; its cost is not known.
"""

from collections.abc import Mapping
from typing import Any

from corsair_sim import load, simulate

CARD: Mapping[str, Any] = {}
HALF: Mapping[str, Any] = {"card.packages": 1}
SENTENCE = 12
"""Tokens after which speech synthesis can begin."""
CARDS = 8
"""Of a server, over which the cost of its host is spread."""
AHEAD = 4
"""Tokens that a draft proposes at a time."""


def summary(
    model: str,
    part: Mapping[str, Any],
    lengths: tuple[int, int],
    arrivals: Mapping[str, Any],
    cards: int = 1,
) -> Mapping[str, Any]:
    """One run of ``lengths`` (prompt, output) on a server's cards or half of each, weights in
    MXINT4; every card is a replica."""
    prompt, output = lengths
    traffic = {
        "requests": 400 * cards,
        "arrivals": arrivals,
        "prompt_tokens": {"fixed": prompt},
        "output_tokens": {"fixed": output},
    }
    scenario = {
        "name": "small",
        "model": model,
        "cluster": {"racks": 1, "servers_per_rack": 1, "cards_per_server": cards},
        "plan": {"tensor_parallel_size": 1, "pipeline_parallel_size": 1},
        "memory": {"mode": "auto"},
        "formats": {"weights": "mxint4", "activations": "mxint8", "kv": "mxint8"},
        "scheduler": {"max_num_seqs": 32, "max_model_len": 4096},
        "workload": {"synthetic": traffic},
        "hardware_set": dict(part),
    }
    found: Mapping[str, Any] = simulate(load(scenario)).summary
    return found


def users(count: int) -> dict[str, Any]:
    """Each sends its next request when the last is answered."""
    return {"concurrency": count}


def rate(per_s: float) -> dict[str, Any]:
    """Independent arrivals."""
    return {"poisson": {"rate_per_s": per_s}}


CASES: tuple[tuple[str, str, tuple[int, int], dict[str, Any]], ...] = (
    ("voice turn, 1 speaker", "qwen3-1.7b", (400, 60), users(1)),
    ("voice turn, 16 speakers", "qwen3-1.7b", (400, 60), users(16)),
    ("voice turn, 1 speaker", "qwen3-0.6b", (400, 60), users(1)),
    ("voice turn, 16 speakers", "qwen3-0.6b", (400, 60), users(16)),
    ("guard, 20 requests/s", "qwen3-0.6b", (800, 4), rate(20)),
    ("router, 20 requests/s", "qwen3-0.6b", (300, 1), rate(20)),
    ("draft, 1 stream", "qwen3-0.6b", (512, 256), users(1)),
    ("draft, 32 streams", "qwen3-0.6b", (512, 256), users(32)),
)


def generated() -> None:
    """Models that generate: what their users wait for."""
    print(
        "| case | model | on | TTFT mean / p99, ms | TPOT, ms | first sentence, ms |"
        " 4 tokens, ms | end to end, ms | requests/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for case, model, lengths, arrivals in CASES:
        for name, part in (("a card", CARD), ("half", HALF)):
            row = summary(model, part, lengths, arrivals)
            if not row["completed"]:
                print(f"| {case} | {model} | {name} | no room for its KV | | | | | |")
                continue
            ttft, tpot = row["mean_ttft_ms"], row["mean_tpot_ms"]
            spoken = lengths[1] > SENTENCE
            cells = (
                case,
                model,
                name,
                f"{ttft:.2f} / {row['p99_ttft_ms']:.2f}",
                "" if tpot is None else f"{tpot:.3f}",
                f"{ttft + SENTENCE * tpot:.2f}" if spoken else "",
                f"{AHEAD * tpot:.2f}" if case.startswith("draft") else "",
                f"{row['mean_e2el_ms']:.2f}",
                f"{row['request_throughput']:.1f}",
            )
            print(f"| {' | '.join(cells)} |")


def embedded() -> None:
    """An embedding model, full: 32 users a card who send the next text at once; by card."""
    print(
        "| prompt tokens | on | texts/s a card | input tokens/s a card | end to end, ms |"
        " USD per million input tokens | USD per million texts |"
    )
    print("|---|---|---|---|---|---|---|")
    for prompt in (64, 512, 2048):
        for name, part in (("a card", CARD), ("half", HALF)):
            row = summary("qwen3-embedding-0.6b", part, (prompt, 1), users(32 * CARDS), CARDS)
            texts, read = row["request_throughput"] / CARDS, row["total_input_tokens"] / CARDS
            million, each = row["cost_per_million_input_tokens_usd"], row["cost_per_request_usd"]
            cells = (
                f"{prompt:,}",
                name,
                f"{texts:,.1f}",
                f"{read / row['duration']:,.0f}",
                f"{row['mean_e2el_ms']:.1f}",
                f"{million:.2g}" if part is CARD else "",
                f"{1e6 * each:.2g}" if part is CARD else "",
            )
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    generated()
    print()
    embedded()
