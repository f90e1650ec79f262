"""The first screen of README.md and its figure, from ``benchmarks/readme.json``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.readme_question import BOUNDS_MS, SIDES, TPOT_MS, TTFT_S, question
from cluster.studies.validate import validate
from results.devices import described
from topology.parsed_files import bundled_document

ROOT = Path(__file__).resolve().parents[1]
Row = Mapping[str, Any]
STORED = r"^\|(?!.*not stored).*\| 1 \| (\d+) of \1 \|$"
"""Lines of the table of problems with one stage whose outcomes are kept."""


def answer_rows(record: Row) -> Iterator[str]:
    """The table under the question."""
    yield "| | cards | USD a month | kW | p99 TTFT, ms | p99 TPOT, ms | SLO holds in | limited by |"
    yield "|---|---|---|---|---|---|---|---|"
    for side in SIDES:
        row = record[side.title]
        cells = (
            f"**{side.title}**",
            f"{row['cards']}, as {plan_words(row)}",
            f"{row['usd_per_month']:,.0f} ({spread(row, 'usd_per_month', ',.0f')})",
            f"{row['kw']:.1f} ({spread(row, 'kw', '.1f')})",
            truth(row, "ttft", ",.0f"),
            truth(row, "tpot", ".1f"),
            held(row),
            limits(row),
        )
        yield f"| {' | '.join(cells)} |"


def turn_lines(record: Row) -> Iterator[str]:
    """How much more the cheapest GPU costs than the cheapest Corsair, by bound of TPOT."""
    said = []
    for bound in SAID_MS:
        usd = {side: record[f"{side.title} at {bound}"]["usd_per_month"] for side in SIDES}
        known = {side: each for side, each in usd.items() if each is not None}
        ours = min(each for side, each in known.items() if side.hardware == "corsair")
        theirs = min(each for side, each in known.items() if side.hardware != "corsair")
        said.append(f"{theirs / ours:.1f} within {bound} ms")
    yield (
        "USD a month of the cheapest of these GPUs over those of the cheaper Corsair, by bound of"
        f" p99 TPOT: {', '.join(said)}."
    )


SAID_MS = (30, 20, 16, 12, 10, 8)
"""Bounds of TPOT of which the text speaks."""


def plan_words(row: Row) -> str:
    """Parallelism in the words of ``plan``."""
    plan = row["plan"]
    pp = plan["pipeline_parallel_size"]
    stages = "" if pp == 1 else f" x PP {pp}"
    return f"{plan['replicas']} x (TP {plan['tensor_parallel_size']}{stages})"


def spread(row: Row, key: str, form: str) -> str:
    """5th to 95th percentile over the machines drawn."""
    low, high = np.percentile(row["draws"][key], [5, 95])
    return f"{low:{form}} to {high:{form}}"


def truth(row: Row, name: str, form: str) -> str:
    """A 99th percentile, and where a measured one would lie nine times of ten."""
    low, high = row["measured_would_be"][name]
    return f"{row[f'p99_{name}_ms']:{form}} ({low:{form}} to {high:{form}})"


def held(row: Row) -> str:
    """On how many of the machines drawn the plan, as it is, has both percentiles within the SLO."""
    drawn = row["draws"]
    pairs = zip(drawn["p99_ttft_ms"], drawn["p99_tpot_ms"], strict=True)
    good = sum(ttft <= TTFT_S * 1e3 and tpot <= TPOT_MS for ttft, tpot in pairs)
    return f"{good} of {len(drawn['p99_ttft_ms'])} draws"


def limits(row: Row) -> str:
    """What busy time goes to, and what the next smaller cluster fails in."""
    device = described(tuple(row["bound_share"]))
    words = {bound.name: bound.label for bound in device.bounds}
    shares = sorted(row["bound_share"].items(), key=lambda item: -item[1])[:2]
    said = ", ".join(f"{words[name]} {share:.0%}" for name, share in shares)
    if row["beyond"] is None:
        return said
    cards, ttft = row["beyond"]["cards"], row["beyond"]["p99_ttft_ms"]
    return f"{said}; {cards} cards: p99 TTFT {ttft / 1e3:.1f} s"


def command_lines(_: Row) -> Iterator[str]:
    """The question as a command, in a block of its own."""
    words = question(SIDES[0], "AzureLLMInferenceTrace_conv.csv", TPOT_MS)
    first, second = words[:8], words[8:]
    yield "<!-- slow -->"
    yield "```sh"
    yield f"corsair-sim {' '.join(first)} \\"
    yield f"    {' '.join(second)}"
    yield "```"


def accuracy_lines(_: Row) -> Iterator[str]:
    """How right: against vLLM, GPUs that nothing was fitted on, blind devices, the vendor."""
    validation = (ROOT / "docs" / "validation.md").read_text("utf-8")
    recorded = sum(int(n) for n in re.findall(STORED, validation, re.M))
    yield (
        f"Every column equals that of vLLM's scheduler on all {recorded} recorded problems of one"
        " stage. Llama-70B on GPUs under vLLM, medians of errors on points that nothing was"
        f" fitted on: {'; '.join(_gpu_words())}."
    )
    tpot, ttft = (_blind_band()[name] for name in ("tpot", "ttft"))
    yield (
        f"Devices predicted blind from a data sheet: TPOT {_percents(tpot)}, TTFT {_percents(ttft)}"
        " (nine of ten points); Corsair is one of these."
    )
    rows = {row.name: row for row in validate()}
    fitted, other = rows["8b.tpot"], rows["70b.tpot"]
    yield (
        f"The vendor's two points: Llama-3-8B at {fitted.claim.value:g} ms a token is what the one"
        f" free constant is fitted to, Llama-3-70B at {other.claim.value:g} ms is predicted as"
        f" {other.simulated:.2f} ms."
    )


def _gpu_words() -> Iterator[str]:
    board = (ROOT / "docs" / "scoreboard.md").read_text("utf-8")
    for device, precision in (("h100", "fp8"), ("b200", "fp8"), ("b200", "fp4")):
        line = next(
            line for line in board.splitlines()
            if line.startswith(f"| {device} | vllm | llama-3.1-70b | {precision} |")
        )  # fmt: skip
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        points, tpot, ttft = cells[4], cells[7], cells[10]
        yield f"{device.upper()} {precision.upper()} TPOT {tpot}, TTFT {ttft} ({points} points)"


def _blind_band() -> Mapping[str, Mapping[str, float]]:
    text = (ROOT / "cluster" / "bundled" / "trust.yaml").read_text("utf-8")
    found: Mapping[str, Any] = bundled_document(text, "trust.yaml").mapping()
    bands: Mapping[str, Mapping[str, float]] = found["bands"]["blind"]
    return bands


def _percents(band: Mapping[str, float]) -> str:
    return f"{100 * band['low']:+.0f} to {100 * band['high']:+.0f} %"


def output_lines(_: Row) -> Iterator[str]:
    """The first lines that ``corsair-sim serve`` prints, but for the run's number."""
    from corsair_sim.cli import main as command

    with TemporaryDirectory() as folder, redirect_stdout(StringIO()) as said:
        command(["serve", "--out", folder])
    lines = said.getvalue().rstrip().splitlines()[:OUTPUT_LINES]
    yield "```"
    for line in lines:
        yield re.sub(r"\(run \w+\)", "(run ...)", line).rstrip()
    yield "..."
    yield "```"


TITLE = (
    "Llama-3.1-70B, 110 chat requests/s, p99 TTFT within 2 s: cards and USD of the least cluster"
)
OUTPUT_LINES = 14
"""Of ``serve``, blank ones included."""
TABLES = {
    "answer": answer_rows,
    "turn": turn_lines,
    "command": command_lines,
    "accuracy": accuracy_lines,
    "output": output_lines,
}


def draw(record: Row) -> Any:
    """USD a month of the least cluster over the bound of TPOT, bands over prices."""
    import altair as alt

    rows = [
        {"machine": side.title, "bound": bound, **found}
        for side in SIDES
        for bound in BOUNDS_MS
        if (found := record[f"{side.title} at {bound}"])["cards"] is not None
    ]
    names: Sequence[str] = [side.title for side in SIDES]
    colours = ["#d55e00", "#e69f00", "#555555", "#0072b2", "#56b4e9"]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("bound:Q", title="p99 TPOT within, ms",
                scale=alt.Scale(type="log", domain=[7.5, 64], nice=False),
                axis=alt.Axis(values=list(BOUNDS_MS))),
        color=alt.Color("machine:N", title=None, scale=alt.Scale(domain=names, range=colours)),
    )  # fmt: skip
    y = alt.Y(
        "usd_per_month:Q",
        title="USD a month",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(format="~s"),
    )
    cards = {"y": y, "text": alt.Text("cards:Q", format=",")}
    ours = alt.FieldOneOfPredicate(field="machine", oneOf=names[:2])
    once = {"and": [ours, f"datum.bound == {BOUNDS_MS[0]}"]}  # these lines are level
    layers = alt.layer(
        base.mark_line(point=True).encode(y=y),
        base.mark_text(dy=-9, fontSize=9).transform_filter(once).encode(**cards),
        base.mark_text(dy=-9, fontSize=9).transform_filter(~ours).encode(**cards),
    )
    return layers.properties(width=640, height=300, title=TITLE)
