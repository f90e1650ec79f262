"""Fits constants of GPU hardware files, and prints them beside what the files hold.

``python benchmarks/fit_gpu.py DATA [kernels] [engine]``: DATA is a folder of measurements as
``corsair-sim validate --data`` takes it. ``kernels`` fits attention on operation tables (five
seconds), ``engine`` what a serving engine adds on the end-to-end points that the files name under
``fitted`` (half a minute). Nothing is written: a figure is changed by hand, with its source, and
``benchmarks/scoreboard.py`` run again.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cluster.studies.scoreboard.operations.score import KINDS, Kind, Mask, chosen, errors_of
from cluster.studies.scoreboard.point import Point
from cluster.studies.scoreboard.points import points_of
from cluster.studies.scoreboard.predict import Predict, predictor
from corsair_common.units import Floats, Integers
from topology.catalog import load_hardware
from workloads.measured import Measured, find_measured, read_measured

ATTENTION = ("bandwidth_efficiency", "flop_efficiency", "query_bandwidth_efficiency", "latency_s")
DEVICES = {"h100": "h100_sxm", "h200": "h200_sxm", "b200": "b200_sxm", "a100": "a100_sxm",
           "rtx-pro-6000": "rtx_pro_6000_server"}  # fmt: skip
CACHES = {"bf16": "bfloat16", "fp8": "fp8"}
GROUPED = (4, 16)
"""Queries a KV head of the rows that attention is fitted on: those of current models."""
LONGEST = 40_000
"""Context of the longest decode rows that it is fitted on."""
STEPS = 12
"""Of a fit; later ones change no third digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFit:
    """Figures, and the points that set them."""

    name: str
    figures: tuple[str, ...]
    devices: tuple[str, ...]
    """Whose fitted points count."""
    models: tuple[str, ...] = ("llama-3.1-70b", "llama-3.1-8b")
    metrics: tuple[str, ...] = ("tpot_ms",)
    """Of a row; of a log all that is scored."""


FIRST = {
    "engine.step_s": 1e-3, "engine.sequence_s": 20e-6, "engine.eager_layer_s": 1e-3,
    "gpu.expert_flop_efficiency": 0.2, "gpu.expert_latency_s": 20e-6,
}  # fmt: skip
"""Where fits begin: round figures. Few rows leave pairs of constants that do as well as each other,
so being off them by a factor of e counts as PRIOR."""
PRIOR = 0.02
STARTS = (1.0, 0.5)
"""Multiples of these that fits begin at, of which the best counts: errors of queues jump."""
TTFT = ("ttft_ms",)
LOG = ("tpot_ms", "ttft_ms", "e2e_ms")
STEP = ("engine.step_s", "engine.sequence_s")
EAGER = ("engine.eager_layer_s",)
ENGINE_FITS = (
    EngineFit(name="shared/vllm.yaml", figures=STEP, devices=("h100", "rtx-pro-6000")),
    EngineFit(name="shared/vllm.yaml", figures=EAGER, devices=("h100", "b200"), metrics=TTFT),
    EngineFit(name="blind.ENGINE, H100 rows", figures=STEP, devices=("h100",)),
    EngineFit(name="blind.ENGINE, H100 rows", figures=EAGER, devices=("h100",), metrics=TTFT),
    EngineFit(name="blind.ENGINE, RTX log", figures=STEP, devices=("rtx-pro-6000",)),
    EngineFit(name="blind.ENGINE, B200 rows", figures=EAGER, devices=("b200",), metrics=TTFT),
    EngineFit(
        name="h100.yaml", metrics=LOG[:2], devices=("h100",), models=("gpt-oss-120b",),
        figures=("gpu.expert_flop_efficiency", "gpu.expert_latency_s"),
    ),
)  # fmt: skip


def main() -> None:
    """Fit what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="*", default=["kernels", "engine"])
    chosen_parts = parser.parse_args()
    if "kernels" in chosen_parts.parts:
        _attention(chosen_parts.data)
    if "engine" in chosen_parts.parts:
        _engine(chosen_parts.data)


def fitted(
    residuals: Callable[[Floats], Floats], start: Floats, *, robust: bool, steps: int = STEPS
) -> Floats:
    """Positive parameters with the least squares of residuals, or ``robust`` the least sizes."""
    at = np.log(start)
    for _ in range(steps):
        now = residuals(np.exp(at))
        weight = 1 / np.maximum(np.abs(now), 0.02) if robust else np.ones_like(now)
        slopes = np.stack(
            [(residuals(np.exp(at + step)) - now) / 1e-3 for step in 1e-3 * np.eye(at.size)], axis=1
        )
        normal = slopes.T @ (slopes * weight[:, None])
        move = np.linalg.lstsq(normal, -slopes.T @ (now * weight), rcond=None)[0]
        at = at + np.clip(move, -0.5, 0.5)
        if np.abs(move).max() < 1e-3:
            break
    found: Floats = np.exp(at)
    return found


def _attention(data: Path) -> None:
    """All rows of grouped queries at once, decodes and prompts, without windows."""
    kinds = [kind for kind in KINDS if kind.name in ("decode attention", "prompt attention")]
    tables = [read_measured(path, layout) for path, layout in find_measured(data)
              if layout.name == "attention"]  # fmt: skip
    for device, system in DEVICES.items():
        for precision, cache in CACHES.items():
            parts = [
                (kind, table, np.flatnonzero(chosen(kind, table) & _grouped(table, system, cache)))
                for kind in kinds
                for table in tables
            ]
            prefix = "gpu.fp8_attention_" if precision == "fp8" else "gpu.attention_"
            names = [prefix + name for name in ATTENTION]
            if all(name in load_hardware(device).figures for name in names):
                _fit_attention(device, precision, parts, names)


def _grouped(table: Measured, system: str, cache: str) -> Mask:
    ratio = table["num_heads"] / table["num_key_value_heads"]
    found = (table["system"] == system) & (table["kv_cache_dtype"] == cache)
    grouped = (ratio >= GROUPED[0]) & (ratio <= GROUPED[1]) & (table["step"] < LONGEST)
    return np.asarray(grouped & found, np.bool_)


def _fit_attention(
    device: str,
    precision: str,
    parts: Sequence[tuple[Kind, Measured, Integers]],
    names: Sequence[str],
) -> None:
    held = np.array([load_hardware(device)[name] for name in names])

    def residuals(values: Floats) -> Floats:
        hardware = load_hardware(device, dict(zip(names, values.tolist(), strict=True)))
        errors = [
            errors_of(kind, table, rows, hardware, precision) for kind, table, rows in parts
            if rows.size
        ]  # fmt: skip
        return np.log1p(np.concatenate(errors))

    values = fitted(residuals, held, robust=True)
    left = np.expm1(residuals(values))
    print(f"{device} {precision}: {left.size} rows, median error {np.median(np.abs(left)):.1%}")
    _print(names, held, values)


def _print(names: Sequence[str], held: Floats, values: Floats) -> None:
    for name, old, new in zip(names, held, values, strict=True):
        print(f"  {name}: {new:.4g} (file: {old:.4g})")


def _engine(data: Path) -> None:
    points, predict = points_of(data, fitted=True), predictor()
    for fit in ENGINE_FITS:
        rows = [point for point in points if _of(point, fit)]
        residuals = partial(_residuals, rows=rows, fit=fit, predict=predict)
        held = np.array([load_hardware(fit.devices[0])[name] for name in fit.figures])
        tried = [fitted(residuals, _first(fit) * start, robust=False) for start in STARTS]
        values = min(tried, key=lambda values: float(np.square(residuals(values)).sum()))
        left = np.expm1(residuals(values))[: -held.size]
        print(f"{fit.name}: errors left {', '.join(f'{error:+.1%}' for error in left)}")
        _print(fit.figures, held, values)


def _residuals(values: Floats, rows: Sequence[Point], fit: EngineFit, predict: Predict) -> Floats:
    figures = dict(zip(fit.figures, values.tolist(), strict=True))
    errors = [_errors(point, figures, fit.metrics, predict) for point in rows]
    return np.concatenate([*errors, PRIOR * np.log(values / _first(fit))])


def _first(fit: EngineFit) -> Floats:
    return np.array([FIRST[name] for name in fit.figures])


def _of(point: Point, fit: EngineFit) -> bool:
    return point.key.device in fit.devices and point.key.model in fit.models


def _errors(
    point: Point, figures: Mapping[str, float], metrics: Sequence[str], predict: Predict
) -> Floats:
    """Logs of predicted over measured."""
    own = {**figures, **point.scenario.get("hardware_set", {})}
    predicted = predict(replace(point, scenario={**point.scenario, "hardware_set": own}))
    scored = metrics if point.requests is None else LOG
    ratios = [(predicted[name] or 0.0) / (point.measured[name] or 1.0) for name in scored]
    return np.log(ratios)


if __name__ == "__main__":
    main()
