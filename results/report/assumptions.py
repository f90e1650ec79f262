"""Assumptions of a run: assumed figures, and where it leaves the calibrated range."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from corsair_common.names import CONFIDENCES
from results.api import Run
from results.causes import KNOWN_CAUSES
from results.summary import flatten

Row: TypeAlias = dict[str, Any]

SIZEABLE = 0.15
"""Share of the busy time from which a bound's figures are worth a warning."""
CALIBRATED_GROUP = 4
CALIBRATED_CONTEXT = 2048
"""Tokens: the published points are at contexts of about 2K or less."""


def provenance(run: Run) -> list[Row]:
    """How many figures of each confidence the run was made from."""
    figures = run.manifest["hardware"].values()
    return [
        {"confidence": word, "figures": sum(each.get("confidence") == word for each in figures)}
        for word in CONFIDENCES
    ]


def warnings(run: Run) -> list[str]:
    """What a reader should beware of: the run's own flags, assumed figures, uncalibrated ranges."""
    return [*run.summary.get("flags", ()), *_assumed(run), *_beyond(run)]  # type: ignore[misc]


def assumed_figures(run: Run) -> list[Row]:
    """Assumed figures behind the bounds that matter in this run, with their ranges."""
    rows = []
    for bound, share in _sizeable(run):
        for name, figure in run.manifest["hardware"].items():
            behind = name.startswith(KNOWN_CAUSES[bound].figures) and not name.endswith("_w")
            if behind and figure.get("confidence") == "assumed":
                known = {key: figure.get(key) for key in ("value", "low", "high", "unit", "source")}
                rows.append({"behind": f"{bound}, {100 * share:.0f} %", "figure": name, **known})
    return rows


def whole_of(run: Run) -> str:
    """What the shares of bounds and causes are parts of."""
    return "critical path" if "replay" in run.tables else "busy time"


def _sizeable(run: Run) -> Iterator[tuple[str, float]]:
    summary = flatten(run.summary)
    for bound in (name for name, cause in KNOWN_CAUSES.items() if cause.figures):
        share = summary.get(f"bound_share.{bound}", summary.get(f"critical_share.{bound}"))
        if isinstance(share, float) and share >= SIZEABLE:
            yield bound, share


def _assumed(run: Run) -> Iterator[str]:
    counts: dict[str, int] = {}
    for row in assumed_figures(run):
        counts[row["behind"]] = counts.get(row["behind"], 0) + 1
    for behind, count in counts.items():
        stand = "figure stands" if count == 1 else "figures stand"
        yield f"{count} assumed {stand} behind {behind} of the {whole_of(run)}"


def _beyond(run: Run) -> Iterator[str]:
    """Settings outside of what the published points, on which one constant is fitted, cover."""
    scenario: Mapping[str, Any] = run.manifest["scenario"]
    if not scenario.get("model"):
        return
    plan = scenario.get("plan") or {}
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
