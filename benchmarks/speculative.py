"""Tables and figure of docs/studies/speculative-decoding.md.

``python benchmarks/speculative.py`` runs them and writes them into the page (half a minute).
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page_tables import with_table
from cluster.perf_model.attention import attention_ps, decode_measures
from cluster.perf_model.tables import PriceTables
from cluster.scenario.resolve import resolve
from cluster.serving.run import lay_out, priced
from corsair_sim import load, simulate

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "drafts-on-corsair.yaml"
PAGE = ROOT / "docs" / "studies" / "speculative-decoding.md"
FIGURE = ROOT / "docs" / "studies" / "figures" / "speculative-break-even.svg"
Changes = dict[str, Any]

RATES = (0.5, 0.7, 0.85, 0.95)
"""Of acceptance: assumed, no public figure of these pairs was found."""
TRIED = (*((4, rate) for rate in RATES), (2, 0.7), (8, 0.7))
"""Numbers of drafts, and rates."""
LOW, HIGH = 0.5, 0.85
CONCURRENCY = (1, 4, 16)
PROMPT, OUTPUT = 8192, 1024
SHAPE_1_6B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 20,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}
"""1.63 billion parameters with the vocabulary of gpt-oss; the partner does not publish a shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run."""

    tpot_ms: float
    e2e_s: float
    token_j: float
    """Of the cards that work, those of drafts included."""
    length: float
    """Tokens of a verification; 1 without drafts."""


def gpt_oss(gpu: str, users: int) -> Changes:
    """gpt-oss-120b on one GPU of a server of two, 8k in and 1k out."""
    return {
        "name": "gpt-oss",
        "hardware": gpu,
        "model": "gpt-oss-120b",
        "formats": {"weights": "mxfp4", "activations": "bf16", "kv": "fp8_e4m3"},
        "cluster": {"servers_per_rack": 2, "cards_per_server": 2},
        "plan": {"tensor_parallel_size": 1, "replicas": 1},
        "scheduler": {
            "max_num_seqs": users,
            "max_num_batched_tokens": 2048,
            "max_model_len": PROMPT + OUTPUT,
        },
        "workload": traffic(users),
    }


def traffic(users: int) -> Changes:
    """So many users, each with one request at a time."""
    return {
        "synthetic": {
            "requests": max(4, 2 * users),
            "arrivals": {"concurrency": users},
            "prompt_tokens": {"fixed": PROMPT},
            "output_tokens": {"fixed": OUTPUT},
        }
    }


def drafted(model: str, drafts: int, rate: float, *, corsair: bool) -> Changes:
    """A draft model on two Corsair cards, or on the cards of the model."""
    own = {"draft_on": {"cards": 2, "hardware": "corsair"}} if corsair else {}
    return {
        "speculative": {
            "method": "draft_model",
            "model": model,
            "num_speculative_tokens": drafts,
            "acceptance": {"rate": rate},
            **own,
        }
    }


def run(changes: Mapping[str, Any]) -> Point:
    """Simulate a scenario."""
    found = simulate(load(dict(changes)))
    summary, machine = found.summary, found.machine
    tokens = summary["total_output_tokens"]
    # Cards of the model's servers that have no rank draw power, which is no part of the question.
    first = len(machine.routes.card_id)
    if machine.draft is not None and machine.draft.draft.cards is not None:
        first = machine.draft.draft.cards.start
    idle_j = (first - machine.cards.size) * machine.joules.static_w * summary["duration"]
    spent_j = summary["joules_per_output_token"] * tokens - idle_j
    drafts_j = summary.get("draft_energy_j") or 0.0
    return Point(
        tpot_ms=summary["mean_tpot_ms"],
        e2e_s=summary["mean_e2el_ms"] / 1e3,
        token_j=(spent_j + drafts_j) / tokens,
        length=summary.get("spec_decode_acceptance_length") or 1.0,
    )


HEAD = "| {} | drafts | rate | tokens a verification | TPOT, ms | answer, s | faster | J a token |"
RULE = "|---|---|---|---|---|---|---|---|"


def line(name: str, drafts: object, rate: object, point: Point, plain: Point) -> str:
    """A row of a table, against a run without drafts."""
    return (
        f"| {name} | {drafts} | {rate} | {point.length:.2f} | {point.tpot_ms:.3g} | "
        f"{point.e2e_s:.3g} | {plain.e2e_s / point.e2e_s:.2f}x | {point.token_j:.3g} |"
    )


def claim_rows(model: str) -> Iterator[str]:
    """gpt-oss-120b with a draft of 1.6 B, one user."""
    yield HEAD.format("GPU, draft on")
    yield RULE
    for gpu in ("h200", "b200"):
        base = gpt_oss(gpu, 1)
        plain = run(base)
        yield line(gpu.upper(), "", "", plain, plain)
        for corsair in (False, True):
            where = "two Corsair cards" if corsair else "the GPU"
            for drafts, rate in (*TRIED, (8, 0.95), (8, 1.0), (16, 1.0)):
                point = run(base | drafted(model, drafts, rate, corsair=corsair))
                yield line(f"{gpu.upper()}, {where}", drafts, rate, point, plain)


def energy_rows(model: str) -> Iterator[str]:
    """Speed for a user at equal energy a token: more users without drafts."""
    yield (
        "| users with drafts | rate | tokens/s/user | J a token "
        "| without drafts at these joules: tokens/s/user | ratio |"
    )
    yield "|---|---|---|---|---|---|"
    base = [run(gpt_oss("h200", users)) for users in (1, 2, 4, 8, 16, 32, 64)]
    joules = np.array([point.token_j for point in base])
    speeds = np.array([1e3 / point.tpot_ms for point in base])
    order = np.argsort(joules)
    for users in CONCURRENCY:
        for rate in (LOW, 0.7, HIGH):
            one = gpt_oss("h200", users) | drafted(model, 4, rate, corsair=True)
            point = run(one)
            speed = 1e3 / point.tpot_ms
            if point.token_j > joules.max():
                other, ratio = f"{speeds[np.argmax(joules)]:.0f} (one user, fewer joules)", ""
            elif point.token_j < joules.min():
                other, ratio = "none", ""
            else:
                at = float(np.interp(point.token_j, joules[order], speeds[order]))
                other, ratio = f"{at:.0f}", f"{speed / at:.2f}x"
            yield f"| {users} | {rate} | {speed:.0f} | {point.token_j:.3g} | {other} | {ratio} |"


def demonstration_rows() -> Iterator[str]:
    """Qwen3-235B on four H200 with Qwen3-1.7B on two Corsair cards."""
    yield HEAD.format("draft on")
    yield RULE
    base = {"workload": traffic(1)}
    plain = run(plain_example() | base)
    yield line("none", "", "", plain, plain)
    for corsair in (False, True):
        where = "two Corsair cards" if corsair else "the H200"
        for drafts, rate in TRIED:
            changes = drafted("qwen3-1.7b", drafts, rate, corsair=corsair)
            point = run(plain_example() | base | changes)
            yield line(where, drafts, rate, point, plain)


def plain_example() -> Changes:
    """The example without drafts."""
    found = load(EXAMPLE).model_dump(exclude_unset=True)
    found.pop("speculative")
    return dict(found)


def step_rows(model: str) -> Iterator[str]:
    """What a verification and a pass of a draft take, one sequence with 8k of context."""
    yield (
        "| on | one token, ms | 3 tokens | 5 tokens | 9 tokens | a pass of the draft, ms: "
        "on the GPU | on two Corsair cards | to Corsair and back, ms |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    qwen = plain_example() | {"workload": traffic(1)}
    for name, base, draft in (
        ("gpt-oss-120b, H200", gpt_oss("h200", 1), model),
        ("gpt-oss-120b, B200", gpt_oss("b200", 1), model),
        ("Qwen3-235B, 4 H200", qwen, "qwen3-1.7b"),
    ):
        steps = [verified_ms(base, drafts) for drafts in (0, 2, 4, 8)]
        near = pass_ms(base | drafted(draft, 4, 0.7, corsair=False))
        far = pass_ms(base | drafted(draft, 4, 0.7, corsair=True))
        times = " | ".join(f"{ms:.2f}" for ms in (*steps, near[0], far[0], far[1]))
        yield f"| {name} | {times} |"


def verified_ms(base: Mapping[str, Any], drafts: int) -> float:
    """A step of one sequence with so many drafts, without making them."""
    ngram = {"method": "ngram", "num_speculative_tokens": drafts, "acceptance": {"rate": 0.5}}
    changes = {**base, **({"speculative": ngram} if drafts else {})}
    prices = priced(lay_out(resolve(load(changes)))).prices
    one, tokens = prices.stage_class[0, 0], 1 + drafts
    measures = decode_measures(prices.kinds, 1, PROMPT)
    ps = prices.linear_ps[one, tokens] + prices.collective_ps[one, tokens]
    ps += prices.head_ps[one, tokens] + attention_ps(prices.attention[one], measures)
    return float(ps) / 1e9


def pass_ms(changes: Mapping[str, Any]) -> tuple[float, float]:
    """A pass of the draft over one sequence, and the way to its cards and back."""
    from cluster.perf_model.prices import price_tables

    layout = lay_out(resolve(load(dict(changes))))
    if layout.draft is None:
        raise ValueError("the scenario has no draft model")
    prices: PriceTables = price_tables(layout.draft.inputs)
    measures = decode_measures(prices.kinds, 1, PROMPT)
    ps = prices.linear_ps[0, 1] + prices.collective_ps[0, 1] + prices.head_ps[0, 1]
    ps += attention_ps(prices.attention[0], measures)
    there, back = layout.draft.sent_ps
    way = float(there[5] + back[5]) / 1e9 if len(there) else 0.0
    return float(ps) / 1e9, way


def draw(steps_ms: Mapping[int, float], drafts: int = 4) -> Any:
    """Speed-up by tokens a verification and by the time of a draft's pass, for three links."""
    from results.figures.theme import HEAT, altair, finished, plot

    one, verify = steps_ms[0], steps_ms[drafts]
    rows = [
        {
            "length": length,
            "pass": share,
            "way": f"{way:g} ms to the draft and back",
            "speed": length * one / (verify + drafts * share * one + way),
        }
        for way in (0.0, 0.1, 1.0)
        for length in np.arange(1.0, 5.01, 0.5).round(2).tolist()
        for share in np.arange(0.0, 0.601, 0.1).round(2).tolist()
    ]
    plots = altair()
    scale = plots.Scale(scheme=HEAT, domain=[0.25, 3.0])
    base = plot(rows).encode(
        x=plots.X("pass:O", title="a draft's pass, of a step of one token"),
        y=plots.Y("length:O", title="tokens a verification", sort="descending"),
    )
    cells = base.mark_rect().encode(color=plots.Color("speed:Q", title="times faster", scale=scale))
    losing = base.mark_text(text="-", color="white").transform_filter("datum.speed < 1")
    chart = plots.layer(cells, losing).properties(width=190, height=220)
    return finished(
        chart.facet(column=plots.Column("way:N", title=None)),
        "Where four drafts pay",
        "gpt-oss-120b on one H200, one sequence, 8k of context; - is slower than without drafts",
    )


def main() -> None:
    """Print the tables and write them, and the figure, into the page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(SHAPE_1_6B), encoding="utf-8")
        model = str(path)
        page = PAGE.read_text("utf-8")
        for name, rows in (
            ("steps", step_rows(model)),
            ("claim", claim_rows(model)),
            ("energy", energy_rows(model)),
            ("demonstration", demonstration_rows()),
        ):
            lines = "\n".join(rows)
            print(f"{name}\n{lines}\n", flush=True)
            page = with_table(page, name, lines)
        base = gpt_oss("h200", 1)
        draw({drafts: verified_ms(base, drafts) for drafts in (0, 4)}).save(str(FIGURE))
        PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
