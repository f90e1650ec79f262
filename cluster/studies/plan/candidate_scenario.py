"""A candidate as a scenario, and its simulation."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any

from cluster.api.serving import Run
from cluster.scenario.load import load
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
"""Columns of a candidate that a summary has as well, and its key for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One finalist, analytic and simulated; errors are analytic / simulated - 1."""

    row: int
    """Of the table ``candidates``."""
    candidate: Candidate
    summary: Mapping[str, Any]
    """Of the whole cluster, including cards without a rank."""
    idle_j: float
    """Energy of the idle cards."""
    meets: bool
    """Whether the simulation meets the objective."""
    excess: float
    """Its largest 99th percentile as a fraction of its bound."""

    @property
    def simulated(self) -> dict[str, float | None]:
        """The candidate's columns, of the candidate's own cards."""
        found = {name: self.summary[key] for name, key in SIMULATED.items()}
        if found["joules_per_output_token"]:
            found["joules_per_output_token"] *= 1.0 - self.idle_j / self.summary["energy_j"]
        return found

    @property
    def errors(self) -> dict[str, float | None]:
        return {name: _error(self.candidate[name], each) for name, each in self.simulated.items()}


def _error(analytic: float | None, simulated: float | None) -> float | None:
    return analytic / simulated - 1 if analytic is not None and simulated else None


def scenario_of(scenario: Scenario, candidate: Candidate, rate_scale: float | None) -> Scenario:
    """The scenario with the candidate's choices, its traffic ``rate_scale`` times as fast.

    The warm-up scales with the traffic, so that it excludes the same requests.
    """
    changes: dict[str, Any] = {
        "plan": {name: candidate[name] for name in PLAN},
        "memory": {"mode": candidate["memory_mode"]},
        "formats": {use: candidate[use] for use in ("weights", "activations", "kv")},
        "scheduler": {name: candidate[name] for name in ("max_num_seqs", "max_num_batched_tokens")},
    }
    if rate_scale is not None:
        changes["workload"] = {"rate_scale": scenario.workload.rate_scale * rate_scale}
        changes["warmup_s"] = scenario.warmup_s / rate_scale
    undivided = scenario.model_copy(update={"pools": None, "transfer": None})
    return load(_plain(undivided), **changes)


def idle_j(run: Run) -> float:
    """Static joules of cards without a rank, in the run's window."""
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
    """Only settings that differ from the defaults, as in a file."""
    plain: dict[str, Any] = scenario.model_dump(mode="json", exclude_defaults=True)
    plain.setdefault("workload", scenario.workload.model_dump(mode="json", exclude_defaults=True))
    return plain


def _beside(value: Any, folder: Path) -> Any:
    """The same tree with relative paths."""
    if isinstance(value, dict):
        return {key: _beside(each, folder) for key, each in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        return os.path.relpath(value, folder)
    return value
