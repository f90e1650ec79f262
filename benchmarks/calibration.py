"""Write docs/calibration-matrix.md: the fitted dispatch and its predictions, under every choice.

Run ``python benchmarks/calibration.py``; it takes a minute or two.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from cluster.perf_model.calibrate import (
    BATCH,
    EIGHT_B,
    SEVENTY_B,
    Choices,
    Overrides,
    Point,
    fit_dispatch_s,
    predict,
)
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.perf_model.prices import SteadyDecode
from topology.catalog import load_hardware
from workloads.model import load_model
from workloads.plan import Plan

PAGE = Path(__file__).resolve().parents[1] / "docs" / "calibration-matrix.md"
EIGHT_B_PLANS = ((8, 1), (4, 2), (2, 4), (1, 8))
SEVENTY_B_TENSOR_SIZES = (1, 2, 4, 8, 16, 32, 64)
VARIANTS = {
    "auto": Choices(),
    "unpipelined": Choices(chunks=1),
    "ring": Choices(all_reduce="ring"),
    "direct": Choices(all_reduce="direct"),
    "halving_doubling": Choices(all_reduce="halving_doubling"),
}
WIRES = ("fp16", "mxint8")
INTER_SWITCH_BYTES_PER_S = (64e9, 128e9)
TOLERANCE = 0.15

HEAD = """# Calibration matrix

Written by `benchmarks/calibration.py`; do not edit.

One constant is free: `card.dispatch_s`, the dispatch time of every operation of a stage. It is
fitted so that Llama-3.1-8B on 8 cards decodes 60 sequences at the published 1.000 ms per token, and
the published 2.0 ms and 30,000 tok/s of Llama-3.1-70B on 64 cards are then predicted with it. Fixed
before the fit: context 1,024; MXINT8 weights, activations and cache; FP16 on the wire;
chunk-pipelined all-reduces in the fastest order of levels, norms by token where that is cheaper;
tensor groups of the four cards under one PCIe switch (8B: TP 4 x PP 2,
70B: TP 4 x PP 16). This rule for plans was chosen with knowledge of the 70B figure.
"""

MATRIX = """
## Every plan and choice

Rows: the 8B plan that the dispatch is fitted on, and how all-reduces are done on both models.
`fit` is the fitted dispatch in microseconds; `none` means that everything else already takes longer
than 1 ms, so those choices cannot reach the published 8B point. The columns under 70B are
the predicted TPOT in ms for TP x PP = 64 cards; bold is within 15 % of 2.0 ms. BF16 on the wire
has the bytes and times of FP16. Fixed algorithms still pipeline their chunks; `unpipelined`
is `auto` with one chunk.
"""


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(
        "\n".join([HEAD, *_headline(), *_ranges(), MATRIX, *_matrix()]) + "\n", encoding="utf-8"
    )
    print(f"wrote {PAGE.name}")


def _headline() -> Iterator[str]:
    """The designed choice: both points, and where a layer's time goes."""
    fitted_s = _fitted(EIGHT_B)
    yield "## The designed choice\n"
    yield f"Fitted dispatch: {fitted_s * 1e6:.4f} us an operation.\n"
    yield "| point | TPOT ms | published ms | off | tok/s | published | off |"
    yield "|---|---|---|---|---|---|---|"
    for name, point in (("8B (fitted)", EIGHT_B), ("70B (predicted)", SEVENTY_B)):
        steady = predict(point, fitted_s)
        rate = BATCH / point.tpot_s
        yield (
            f"| {name} | {steady.tpot_s * 1e3:.3f} | {point.tpot_s * 1e3:.1f}"
            f" | {_off(steady.tpot_s, point.tpot_s)} | {steady.tokens_per_s:,.0f}"
            f" | {rate:,.0f} | {_off(steady.tokens_per_s, rate)} |"
        )
    yield "\nMicroseconds per layer in a slot's loop (embedding, head, sends and the return path"
    yield "are divided over the layers; the last two are network):\n"
    yield "| point | " + " | ".join(BOUNDS) + " | all | slot loop ms | slowest stage ms |"
    yield "|---|" + "---|" * (len(BOUNDS) + 3)
    for name, point in (("8B", EIGHT_B), ("70B", SEVENTY_B)):
        yield f"| {name} | " + " | ".join(_per_layer(point, predict(point, fitted_s))) + " |"


def _off(predicted: float, published: float) -> str:
    return f"{round(predicted / published - 1, 4) + 0.0:+.1%}"


def _per_layer(point: Point, steady: SteadyDecode) -> list[str]:
    layers = len(load_model(point.model).layers)
    parts = [f"{part / layers / 1e6:.2f}" for part in steady.loop_by_bound_ps.tolist()]
    whole = f"{steady.loop_ps / layers / 1e6:.2f}"
    return [*parts, whole, f"{steady.loop_ps / 1e9:.3f}", f"{steady.slowest_stage_ps / 1e9:.3f}"]


def _ranges() -> Iterator[str]:
    """How far the fit and the prediction move with each uncertain figure of the catalogue."""
    figures = load_hardware("corsair").figures
    yield "\n## With each assumed figure at its low and high\n"
    yield "| figure | at | fit us | 70B TPOT ms | off |"
    yield "|---|---|---|---|---|"
    for name, figure in figures.items():
        if not _matters(name) or figure.low == figure.high:
            continue
        for value in (figure.low, figure.high):
            fitted_s = fit_dispatch_s(overrides={name: value})
            if fitted_s is None:
                yield f"| {name} | {value:g} | none | | |"
                continue
            tpot_s = predict(SEVENTY_B, fitted_s, overrides={name: value}).tpot_s
            off = tpot_s / SEVENTY_B.tpot_s - 1
            miss = " (miss)" if abs(off) > TOLERANCE else ""
            yield (
                f"| {name} | {value:g} | {fitted_s * 1e6:.3f} | {tpot_s * 1e3:.3f}"
                f" | {off:+.1%}{miss} |"
            )


def _matters(name: str) -> bool:
    """Figures that affect a steady decode in SRAM, and that do not change the topology."""
    timing = ("_s", "_clocks", "_per_clock", "efficiency", "lanes", "_hz")
    felt = ("dimc", "chiplet.noc", "simd", "package", "card", "pair", "server", "rack", "links")
    return name.startswith(felt) and name.endswith(timing) and name != "card.dispatch_s"


def _matrix() -> Iterator[str]:
    """The table, and a count of what it says about the designed 70B plan."""
    sizes = [f"{tensor}x{64 // tensor}" for tensor in SEVENTY_B_TENSOR_SIZES]
    header = ["8B TPxPP", "all-reduce", "wire", "inter-switch GB/s", "fit us"]
    header += [f"70B {size}" for size in sizes]
    rows = [
        _row(*chosen)
        for chosen in product(EIGHT_B_PLANS, VARIANTS, WIRES, INTER_SWITCH_BYTES_PER_S)
    ]
    designed = header.index("70B 4x16")
    fitted = [row for row in rows if row[4] != "none"]
    near = [row for row in fitted if row[designed].startswith("**")]
    yield f"Of {len(rows)} choices {len(fitted)} can be fitted at all, and {len(near)} of those put"
    yield "70B, TP 4 x PP 16, within 15 % of its published point.\n"
    yield _line(header)
    yield "|" + "---|" * len(header)
    yield from map(_line, rows)


def _row(plan: tuple[int, int], variant: str, wire: str, rate: float) -> list[str]:
    choices = replace(VARIANTS[variant], wire=wire)
    overrides = {"server.inter_switch_bandwidth_bytes_per_s": rate}
    fitted_s = fit_dispatch_s(replace(EIGHT_B, plan=_plan(*plan)), choices, overrides)
    cells = [f"{plan[0]}x{plan[1]}", variant, wire, f"{rate / 1e9:g}"]
    if fitted_s is None:
        return [*cells, "none", *[""] * len(SEVENTY_B_TENSOR_SIZES)]
    return [*cells, f"{fitted_s * 1e6:.3f}", *_predicted(fitted_s, choices, overrides)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _predicted(fitted_s: float, choices: Choices, overrides: Overrides) -> Iterator[str]:
    for tensor in SEVENTY_B_TENSOR_SIZES:
        point = replace(SEVENTY_B, plan=_plan(tensor, 64 // tensor))
        tpot_s = predict(point, fitted_s, choices, overrides).tpot_s
        text = f"{tpot_s * 1e3:.2f}"
        near = abs(tpot_s / SEVENTY_B.tpot_s - 1) <= TOLERANCE
        yield f"**{text}**" if near else text


def _plan(tensor: int, pipeline: int) -> Plan:
    return Plan(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline)


def _fitted(point: Point) -> float:
    fitted_s = fit_dispatch_s(point)
    if fitted_s is None:
        raise SystemExit("no dispatch brings the fitted point to its published time")
    return fitted_s


if __name__ == "__main__":
    main()
