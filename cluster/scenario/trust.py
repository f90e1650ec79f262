"""How far a prediction can be trusted: what was measured near it, and a band of 90 %.

The numbers are in ``cluster/bundled/trust.yaml``, written by ``benchmarks/scoreboard.py`` from
measured points.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeAlias

from cluster.scenario.resolve import Resolved
from cluster.scenario.schema import Scenario
from topology.catalog import Hardware, load_hardware
from topology.parsed_files import bundled_document

Level: TypeAlias = Literal["measured", "interpolated", "extrapolated", "what-if"]

METRICS = ("tpot", "ttft")
TIMELESS = ("cost.", "parts.", "area.")
"""Sections that no time depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Nine of ten errors (predicted over measured, less one) lie between these."""

    low: float
    high: float
    n: int

    def truth(self, predicted: float) -> tuple[float, float]:
        """What would be measured, nine times of ten.

        >>> Band(low=-0.2, high=0.25, n=10).truth(100.0)
        (80.0, 125.0)
        """
        return predicted / (1 + self.high), predicted / (1 + self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a prediction rests on."""

    level: Level
    reason: str
    bands: Mapping[str, Band]
    """By metric: ``tpot``, ``ttft``."""

    @property
    def sentence(self) -> str:
        """In words, with the band."""
        spans = " and by ".join(
            f"{100 * band.low:+.0f} to {100 * band.high:+.0f} % in {metric.upper()}"
            for metric, band in self.bands.items()
        )
        whose = (
            "machines predicted blind from a data sheet were off by"
            if self.level in ("extrapolated", "what-if")
            else "measured points that nothing was fitted on were off by"
        )
        return f"{self.level}: {self.reason}; {whose} {spans} (nine of ten points)"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        bands = {name: {"low": b.low, "high": b.high, "n": b.n} for name, b in self.bands.items()}
        return {"level": self.level, "reason": self.reason, "sentence": self.sentence, **bands}


@cache
def _measured() -> Mapping[str, Any]:
    path = resources.files("cluster") / "bundled" / "trust.yaml"
    return bundled_document(path.read_text("utf-8"), "trust.yaml").mapping()


def trust_of(resolved: Resolved) -> Trust:
    """What a run's times can be trusted for, from its device, model, plan and traffic."""
    device = resolved.hardware.name
    for one in [pool.hardware for pool in resolved.pools or (resolved,)]:
        if one.what_if:
            why = f"{one.name} is no machine that can be bought ({one.what_if})"
            return blind("what-if", why)
    if resolved.pools is not None:
        where = "" if resolved.mixed is None else f" on {' and '.join(_kinds(resolved))}"
        what = f"no run with separate prefill and decode pools{where} was measured"
        return blind("what-if", what)
    own = [one for one in _measured()["sets"] if one["device"] == device]
    if not own and device not in _measured()["operations"]:
        return blind("what-if", f"no end-to-end point of {device} was measured")
    if moved := _moved(resolved.hardware):
        return blind("what-if", f"figures of {device} were set by hand ({', '.join(moved)})")
    if not own:
        what = f"single operations of {device} were measured, and no end-to-end point"
        return blind("extrapolated", what)
    experts = any(layer.mlp.kind != "dense" for layer in resolved.model.layers)
    same_kind = [one for one in own if one["experts"] == experts]
    kind = "models with experts" if experts else "dense models"
    if not same_kind:
        return blind("extrapolated", f"no point of {kind} on {device} was measured")
    if outside := list(_outside(resolved, same_kind)):
        return blind("extrapolated", f"{', '.join(outside)} on {device}, {kind}")
    return _near(resolved, same_kind, "experts" if experts else "dense")


def what_if_notes(*scenarios: Scenario) -> list[str]:
    """A line for each machine of these scenarios that cannot be bought."""
    own = [each.hardware for each in scenarios if not each.network]
    pools = [pool.hardware for each in scenarios for _, pool in each.pools or ()]
    named = [load_hardware(name) for name in dict.fromkeys((*own, *pools)) if name is not None]
    return [
        f"note: {one.name} is a what-if, no machine that can be bought ({one.what_if})"
        for one in named
        if one.what_if
    ]


def _kinds(resolved: Resolved) -> list[str]:
    return [pool.hardware.name for pool in resolved.pools or ()]


def _moved(hardware: Hardware) -> list[str]:
    """Figures that are not those of the bundled file of this name."""
    bundled = load_hardware(hardware.name).figures
    return [
        name
        for name, figure in hardware.figures.items()
        if not name.startswith(TIMELESS)
        and (name not in bundled or bundled[name].value != figure.value)
    ]


def trust_lines(trust: Trust, predicted_ms: Mapping[str, float | None]) -> list[str]:
    """The sentence, and the span of the truth for these means by metric."""
    spans = []
    for metric, band in trust.bands.items():
        if (value := predicted_ms.get(metric)) is not None:
            low, high = band.truth(value)
            spans.append(f"{metric.upper()} {low:,.4g} to {high:,.4g} ms")
    return [f"trust: {trust.sentence}", *([f"  90 %: {', '.join(spans)}"] if spans else [])]


def _near(resolved: Resolved, sets: Sequence[Mapping[str, Any]], kind: str) -> Trust:
    """Within the range of what was measured: of the same model, or between others."""
    model, weights = resolved.model.name, resolved.scenario.formats.weights
    same = [one for one in sets if (one["model"], one["weights"]) == (model, weights)]
    exact = bool(same and resolved.concurrency and not list(_outside(resolved, same)))
    count = sum(one["n"] for one in (same if exact else sets))
    device = resolved.hardware.name
    what = f"{model} in {weights}" if exact else "other models, formats or loads"
    return Trust(
        level="measured" if exact else "interpolated",
        reason=f"{count} points of {what} on {device} around this one were measured",
        bands=_bands(_measured()["bands"][kind]),
    )


def _outside(resolved: Resolved, sets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What of a run lies outside of the ranges of these sets."""
    requests = resolved.requests
    found = {
        "tp": resolved.plan.tensor_parallel_size,
        "pp": resolved.plan.pipeline_parallel_size,
        "prompt_tokens": float(requests.prompt_tokens.mean()) if len(requests) else None,
        "output_tokens": float(requests.output_tokens.mean()) if len(requests) else None,
        "users": resolved.concurrency or None,
    }
    for name, value in found.items():
        low = min(one[name][0] for one in sets)
        high = max(one[name][1] for one in sets)
        if value is not None and not low <= value <= high:
            yield f"{name} {value:,.0f} is outside of what was measured ({low:,} to {high:,})"


def blind(level: Level, reason: str) -> Trust:
    """What can be said of a machine without measured points near it."""
    return Trust(level=level, reason=reason, bands=_bands(_measured()["bands"]["blind"]))


def _bands(found: Mapping[str, Any]) -> dict[str, Band]:
    return {name: Band(**found[name]) for name in METRICS if name in found}
