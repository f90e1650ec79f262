"""A candidate as a scenario, and its simulation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any

from cluster.api.serving import Run, simulate
from cluster.scenario.load import load
from cluster.scenario.resolve import Resolved
from cluster.scenario.schema import Scenario
from corsair_common.files import write_text
from workloads.plan import Plan

Candidate = Mapping[str, Any]
PLAN = tuple(field.name for field in fields(Plan))


SIMULATED = {
    "ttft_ms": "mean_ttft_ms",
    "tpot_ms": "mean_tpot_ms",
    "output_throughput": "output_throughput",
    "joules_per_output_token": "joules_per_output_token",
}
"""Columns of a candidate that a summary has, too, and its key for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One finalist, analytic beside simulated; errors are analytic over simulated, less one."""

    candidate: Candidate
    summary: Mapping[str, Any]
    """Of the whole cluster, cards that the candidate leaves idle among it."""
    idle_j: float
    """What those cards have drawn."""

    @property
    def simulated(self) -> dict[str, float | None]:
        """What a candidate counts, of the cards that it counts."""
        found = {name: self.summary[key] for name, key in SIMULATED.items()}
        if found["joules_per_output_token"]:
            found["joules_per_output_token"] *= 1.0 - self.idle_j / self.summary["energy_j"]
        return found

    @property
    def errors(self) -> dict[str, float | None]:
        return {name: _error(self.candidate[name], each) for name, each in self.simulated.items()}


def _error(analytic: float | None, simulated: float | None) -> float | None:
    return analytic / simulated - 1 if analytic is not None and simulated else None


def rate_of(resolved: Resolved) -> float | None:
    """Requests a second as the scenario sends them; None in a closed loop or all at once."""
    arrival_ps = resolved.requests.arrival_ps
    span_ps = int(arrival_ps[-1] - arrival_ps[0])
    if resolved.concurrency or not span_ps:
        return None
    return float((len(arrival_ps) - 1) / (span_ps * 1e-12))


def scenario_of(scenario: Scenario, candidate: Candidate, rate_scale: float | None) -> Scenario:
    """The scenario with the candidate's choices, its traffic ``rate_scale`` times as fast.

    The warm-up shrinks with the traffic, so that it leaves out the same requests.
    """
    changes: dict[str, Any] = {
        "plan": {name: candidate[name] for name in PLAN},
        "memory": {"mode": candidate["memory_mode"]},
        "formats": {"weights": candidate["weights"], "kv": candidate["kv"]},
        "scheduler": {name: candidate[name] for name in ("max_num_seqs", "max_num_batched_tokens")},
    }
    if rate_scale is not None:
        changes["workload"] = {"rate_scale": scenario.workload.rate_scale * rate_scale}
        changes["warmup_s"] = scenario.warmup_s / rate_scale
    return load(_plain(scenario), **changes)


def verify(
    resolved: Resolved, candidates: Sequence[Candidate], slo: Mapping[str, float | None]
) -> list[Verified]:
    """Simulate each on the scenario's own requests, coming as fast as it was scored for."""
    rate = rate_of(resolved)
    found = []
    for candidate in candidates:
        scale = None if rate is None else candidate["request_rate_per_s"] / rate
        scenario = scenario_of(resolved.scenario, candidate, scale)
        limits = {name: value for name, value in slo.items() if value is not None}
        run = simulate(load(_plain(scenario), slo=limits) if limits else scenario)
        found.append(Verified(candidate=candidate, summary=run.summary, idle_j=_idle_j(run)))
    return found


def _idle_j(run: Run) -> float:
    """Static joules of cards on which nothing was placed, in the run's window."""
    machine, outcome = run.machine, run.outcome
    idle = len(machine.routes.card_id) - machine.cards.size
    lasted_s = (outcome.end_ps - outcome.bins.start_ps) * 1e-12
    return float(machine.joules.static_w) * idle * lasted_s


def write_scenario(scenario: Scenario, path: str | Path) -> None:
    """Write a scenario file; the paths in it are relative to its folder."""
    from ruamel.yaml import YAML

    folder = Path(path).resolve().parent
    text = StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(_beside(_plain(scenario), folder), text)
    write_text(path, text.getvalue())


def _plain(scenario: Scenario) -> dict[str, Any]:
    """Only what differs from the defaults, as a file would say it."""
    plain: dict[str, Any] = scenario.model_dump(mode="json", exclude_defaults=True)
    plain.setdefault("workload", scenario.workload.model_dump(mode="json", exclude_defaults=True))
    return plain


def _beside(value: Any, folder: Path) -> Any:
    """The same tree, absolute paths made relative."""
    if isinstance(value, dict):
        return {key: _beside(each, folder) for key, each in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        return os.path.relpath(value, folder)
    return value
