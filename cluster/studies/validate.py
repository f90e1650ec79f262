"""The accuracy scoreboard: each published figure beside the simulated one. Misses stay in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from cluster.api.serving import simulate
from cluster.perf_model.calibrate import (
    BATCH,
    CONTEXT_TOKENS,
    EIGHT_B,
    SEVENTY_B,
    Choices,
    Point,
    fit_dispatch_s,
    predict,
)
from cluster.perf_model.devices.dimc.chiplet import (
    chiplet_of,
    mode_of,
    peak_flop_per_s,
    peak_stream_bytes_per_s,
    ridge_rows,
)
from cluster.perf_model.prices import steady_decode
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import assemble
from cluster.studies.fits import held
from cluster.studies.published import Beside, Claim, Published, load_published
from topology.build import build_pod
from topology.catalog import Hardware, load_hardware
from topology.route import compile_routes
from workloads.formats import get_format
from workloads.model import kv_bytes_per_token, load_model, weight_bytes

Verdict: TypeAlias = Literal["ok", "miss", "fitted", "outside"]

POINTS: Mapping[str, Point] = {"8b": EIGHT_B, "70b": SEVENTY_B}
SRAM_OF_POINT: Mapping[str, str] = {"8b": "server.sram", "70b": "rack.sram"}
WIDTHS = (4, 8, 16)
PROMPTS = (32, 128)
OUTPUT_TOKENS = 1000
"""Output length: long, so that decode dominates."""
ROUNDS = 10
"""Requests that each of the users sends."""
CAPACITY_CARDS = (1, 8, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published figure and the simulated value, in the claim's unit."""

    name: str
    claim: Claim
    beside: Beside
    simulated: float

    @property
    def deviation(self) -> float:
        """Relative to the published figure."""
        return self.simulated / self.claim.value - 1

    @property
    def verdict(self) -> Verdict:
        """``fitted`` is no evidence; ``outside`` has no tolerance; the rest is ok or a miss."""
        if self.beside.fitted:
            return "fitted"
        if self.beside.bound is not None:
            above = self.simulated - self.claim.value
            return "ok" if (above if self.beside.bound == "at_least" else -above) >= 0 else "miss"
        if self.beside.tolerance is None:
            return "outside"
        return "ok" if abs(self.deviation) <= self.beside.tolerance else "miss"


SETTINGS: Mapping[str, Choices] = {
    "as modelled": Choices(),
    "norms: replicated": Choices(norms="replicated"),
    "norms: sharded": Choices(norms="sharded"),
    "norms: replicated, all_reduce: hierarchical": Choices(
        norms="replicated", all_reduce="hierarchical"
    ),
    "overlap: chunked": Choices(overlap="chunked"),
}
"""Settings of ``collectives`` under which both points are fitted and predicted; others are as
modelled: norms auto, all_reduce auto, overlap none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The vendor's two points under one setting."""

    setting: str
    dispatch_s: float | None
    """Fitted on the first point; None: all else already takes longer."""
    fitted_tpot_s: float | None
    predicted_tpot_s: float | None

    @property
    def off(self) -> float | None:
        """Of the predicted point."""
        return self.predicted_tpot_s and self.predicted_tpot_s / SEVENTY_B.tpot_s - 1


@cache
def fitted_settings() -> tuple[Fitted, ...]:
    """Fit the dispatch on 8B under each setting, and predict 70B with it."""
    return tuple(_fitted(name, choices) for name, choices in SETTINGS.items())


def _fitted(setting: str, choices: Choices) -> Fitted:
    dispatch_s = fit_dispatch_s(choices=choices)
    points = (EIGHT_B, SEVENTY_B)
    first_s, second_s = (
        None if dispatch_s is None else predict(point, dispatch_s, choices).tpot_s
        for point in points
    )
    return Fitted(
        setting=setting,
        dispatch_s=dispatch_s,
        fitted_tpot_s=first_s,
        predicted_tpot_s=second_s,
    )


def validate() -> tuple[Row, ...]:
    """Simulate every figure that is compared; takes a few seconds."""
    published = load_published()
    return compare(published, measure(published))


def compare(published: Published, simulated: Mapping[str, float]) -> tuple[Row, ...]:
    """Rows in the order of the claims."""
    return tuple(
        Row(name=name, claim=claim, beside=beside, simulated=simulated[name])
        for claim in published.claims
        for name, beside in claim.rows.items()
    )


def measure(published: Published) -> dict[str, float]:
    """Every simulated figure by the name of its row, in the unit of its claim."""
    hardware = load_hardware("corsair")
    found = {f"card.{name}": value for name, value in _card(hardware).items()}
    for tier, servers in (("server", 1), ("rack", 8)):
        found |= {f"{tier}.{name}": value for name, value in _machine(hardware, servers).items()}
    for size, point in POINTS.items():
        figures = {**_model(point, published.value(SRAM_OF_POINT[size])), **_steady(point)}
        for prompt in PROMPTS:
            figures |= _users(point, prompt)
        found |= {f"{size}.{name}": value for name, value in figures.items()}
    found |= {f"lpddr.cards{cards}": _capacity_tpot_ms(cards) for cards in CAPACITY_CARDS}
    return found | {f"fits.{name}": value for name, value in held(hardware).items()}


def _card(hardware: Hardware) -> dict[str, float]:
    """Peaks and ridges of the chiplet model."""
    chiplet, chiplets = chiplet_of(hardware), _chiplets(hardware)
    found = {}
    for width in WIDTHS:
        mode = mode_of(
            hardware, weight_width=width, activation_width=width, activation_bytes=width / 8
        )
        found[f"mxint{width}"] = chiplets * peak_flop_per_s(chiplet, mode) / 1e12
        found[f"ridge_mxint{width}"] = float(ridge_rows(chiplet, mode))
        found["sram_bandwidth"] = chiplets * peak_stream_bytes_per_s(chiplet, mode, width) / 1e12
    return found


def _machine(hardware: Hardware, servers: int) -> dict[str, float]:
    """Sums over a topology: its number of cards, times a card."""
    cards = len(compile_routes(build_pod(hardware, servers_per_rack=servers)).card_id)
    chiplets = cards * _chiplets(hardware)
    card = _card(hardware)
    return {
        **{f"mxint{width}": cards * card[f"mxint{width}"] / 1e3 for width in WIDTHS},
        "cores": chiplets * hardware["chiplet.dimc_cores"],
        "sram": chiplets * hardware["chiplet.sram_bytes"] / 1e9,
        "sram_bandwidth": cards * card["sram_bandwidth"],
        "lpddr": chiplets * hardware["chiplet.lpddr_bytes"] / 1e12,
        "lpddr_bandwidth": chiplets * hardware["chiplet.lpddr_bandwidth_bytes_per_s"] / 1e12,
    }


def _chiplets(hardware: Hardware) -> int:
    """Chiplets of one card."""
    return hardware.count("card.packages") * hardware.count("package.chiplets")


def _model(point: Point, sram_gb: float) -> dict[str, float]:
    """Sizes, and the context that is left for each sequence where SRAM is one pool."""
    model, eight_bits = load_model(point.model), get_format("mxint8")
    weights, token = weight_bytes(model, eight_bits), kv_bytes_per_token(model, eight_bits)
    return {
        "weights": weights / 1e9,
        "kv": token / 1e3,
        "context": (sram_gb * 1e9 - weights) / (BATCH * token),
    }


def _steady(point: Point) -> dict[str, float]:
    """The calibration's point with the catalogue's dispatch."""
    steady = predict(point)
    return {"tpot": steady.tpot_s * 1e3, "rate": steady.tokens_per_s}


def _users(point: Point, prompt_tokens: int) -> dict[str, float]:
    """Closed loop: 60 users, each sending its next request on completion, prefill included."""
    requested: dict[str, Any] = {
        "name": f"{BATCH} users",
        "cluster": {"servers_per_rack": point.servers},
        "model": point.model,
        "plan": {
            "tensor_parallel_size": point.plan.tensor_parallel_size,
            "pipeline_parallel_size": point.plan.pipeline_parallel_size,
        },
        "scheduler": {"max_num_seqs": BATCH},
        "workload": {
            "synthetic": {
                "requests": ROUNDS * BATCH,
                "arrivals": {"concurrency": BATCH},
                "prompt_tokens": {"fixed": prompt_tokens},
                "output_tokens": {"fixed": OUTPUT_TOKENS},
            }
        },
    }
    run = simulate(load(requested))
    fit, users = run.machine.fit, f"users{prompt_tokens}"
    return {
        f"{users}.tpot": run.summary["mean_tpot_ms"],
        f"{users}.rate": run.summary["output_throughput"],
        "placed_context": float(fit.blocks * fit.block_size // BATCH),
    }


def _capacity_tpot_ms(cards: int) -> float:
    """One sequence of the larger model, its weights streamed from the LPDDR of every card."""
    per_server = min(cards, 8)
    requested: dict[str, Any] = {
        "name": "weights in LPDDR",
        "cluster": {"servers_per_rack": cards // per_server, "cards_per_server": per_server},
        "model": SEVENTY_B.model,
        "plan": {"tensor_parallel_size": cards},
        "memory": {"mode": "capacity"},
        "scheduler": {"max_num_seqs": 1},
        "workload": {
            "synthetic": {
                "requests": 1,
                "arrivals": {"concurrency": 1},
                "prompt_tokens": {"fixed": CONTEXT_TOKENS},
                "output_tokens": {"fixed": 1},
            }
        },
    }
    prices = assemble(resolve(load(requested))).prices
    return steady_decode(prices, batch=1, context=CONTEXT_TOKENS).tpot_s * 1e3
