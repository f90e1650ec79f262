"""Assumptions of a run: assumed figures, and where it leaves the calibrated range."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from corsair_common.names import CONFIDENCES
from results.api import Run
from results.summary import flatten

Row: TypeAlias = dict[str, Any]

LATENCIES = (
    *("package.d2d_latency", "card.package_link_latency", "pair.bridge_latency"),
    *("nvswitch.latency", "mesh.latency", "server.pcie_latency", "server.inter_switch_latency"),
    *("rack.network_latency", "rack.leaf_latency", "pod.spine_latency"),
)
"""Figures that the latency of messages rests on, by how their names begin."""
SIZEABLE = 0.15
"""Least share of the busy time for a warning about a bound's figures."""
CALIBRATED_GROUP = 4
CALIBRATED_CONTEXT = 2048
"""Tokens: the published points are at contexts of about 2K or less."""


def provenance(run: Run) -> list[Row]:
    """The number of figures of each confidence that the run used."""
    figures = run.manifest["hardware"].values()
    return [
        {"confidence": word, "figures": sum(each.get("confidence") == word for each in figures)}
        for word in CONFIDENCES
    ]


def warnings(run: Run) -> list[str]:
    """Warnings: the run's own flags, assumed figures, uncalibrated ranges."""
    return [*run.summary.get("flags", ()), *_assumed(run), *_beyond(run)]  # type: ignore[misc]


def assumed_figures(run: Run) -> list[Row]:
    """Assumed figures behind the bounds that matter in this run, with their ranges."""
    rows = []
    for bound, figures, share in _sizeable(run):
        for name, figure in run.manifest["hardware"].items():
            behind = name.startswith(figures) and not name.endswith("_w")
            if behind and figure.get("confidence") == "assumed":
                known = {key: figure.get(key) for key in ("value", "low", "high", "unit", "source")}
                rows.append({"behind": f"{bound}, {100 * share:.0f} %", "figure": name, **known})
    return rows


def whole_of(run: Run) -> str:
    """The total that shares of bounds and causes refer to."""
    return "critical path" if "replay" in run.tables else "busy time"


def _sizeable(run: Run) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Causes that take enough of the time, the figures behind each, and its share."""
    summary = flatten(run.summary)
    behind = {bound.name: bound.figures for bound in run.device.bounds} | {"latency": LATENCIES}
    for bound, figures in behind.items():
        share = summary.get(f"bound_share.{bound}", summary.get(f"critical_share.{bound}"))
        if isinstance(share, float) and share >= SIZEABLE:
            yield bound, figures, share


def _assumed(run: Run) -> Iterator[str]:
    counts: dict[str, int] = {}
    for row in assumed_figures(run):
        counts[row["behind"]] = counts.get(row["behind"], 0) + 1
    for behind, count in counts.items():
        stand = "figure stands" if count == 1 else "figures stand"
        yield f"{count} assumed {stand} behind {behind} of the {whole_of(run)}"


def _beyond(run: Run) -> Iterator[str]:
    """Settings outside the range of the published points, to which one constant is fitted."""
    scenario: Mapping[str, Any] = run.manifest["scenario"]
    if not scenario.get("model") or not run.device.calibrated:
        return
    plan = scenario.get("plan")
    plan = plan if isinstance(plan, Mapping) else {}  # auto: of pools, which have their own
    group = plan.get("tensor_parallel_size", CALIBRATED_GROUP)
    if group != CALIBRATED_GROUP:
        yield (
            f"tensor groups of {group} cards: the published points are reproduced with groups of "
            f"{CALIBRATED_GROUP}"
        )
    memory = (scenario.get("memory") or {}).get("mode", "performance")
    if memory != "performance":
        yield f"memory mode {memory}: no speed is published for weights in LPDDR"
    formats = scenario.get("formats") or {}
    if formats.get("weights", "mxint8") != "mxint8":
        yield f"weights in {formats['weights']}: the published points imply MXINT8"
    if "requests" in run.tables and run.table("requests").num_rows:
        longest = _mean_context(run)
        if longest > CALIBRATED_CONTEXT:
            yield (
                f"contexts of {longest:,.0f} tokens on average: the published points are at about "
                f"{CALIBRATED_CONTEXT:,} or fewer"
            )
    moved = run.manifest["hardware"].get("card.dispatch_s", {}).get("source") == "hardware_set"
    if moved:
        yield "card.dispatch_s, the fitted constant, was set by hand"


def _mean_context(run: Run) -> float:
    requests = run.table("requests")
    total = sum(int(_sum(requests[name])) for name in ("prompt_tokens", "output_tokens"))
    return total / max(1, int(requests.num_rows))


def _sum(column: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(column).as_py() or 0)
