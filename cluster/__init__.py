# A package of corsair-sim (corsair_sim/import_check.py looks for this line).
"""Simulation: the only package that imports the others. Users import from ``corsair_sim``."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.api.progress import Progress
    from cluster.api.replay import ReplayRun, replay_trace
    from cluster.api.serving import Run, simulate
    from cluster.scenario.load import ScenarioError, load
    from cluster.scenario.schema import Scenario
    from cluster.studies.decision import Decision, decide
    from cluster.studies.plan.space import Choices
    from cluster.studies.plan.study import Plans, plan
    from cluster.studies.sensitivity import Sensitivity, sensitivity
    from cluster.studies.sweep import sweep
    from cluster.studies.tco_comparison import TcoComparison, compare_tco

__all__ = [
    "Choices",
    "Decision",
    "Plans",
    "Progress",
    "ReplayRun",
    "Run",
    "Scenario",
    "ScenarioError",
    "Sensitivity",
    "TcoComparison",
    "compare_tco",
    "decide",
    "load",
    "plan",
    "replay_trace",
    "sensitivity",
    "simulate",
    "sweep",
]

_MODULES = {
    "Choices": "cluster.studies.plan.space",
    "Decision": "cluster.studies.decision",
    "Plans": "cluster.studies.plan.study",
    "Progress": "cluster.api.progress",
    "ReplayRun": "cluster.api.replay",
    "Run": "cluster.api.serving",
    "Scenario": "cluster.scenario.schema",
    "ScenarioError": "cluster.scenario.load",
    "Sensitivity": "cluster.studies.sensitivity",
    "TcoComparison": "cluster.studies.tco_comparison",
    "compare_tco": "cluster.studies.tco_comparison",
    "decide": "cluster.studies.decision",
    "load": "cluster.scenario.load",
    "plan": "cluster.studies.plan.study",
    "replay_trace": "cluster.api.replay",
    "sensitivity": "cluster.studies.sensitivity",
    "simulate": "cluster.api.serving",
    "sweep": "cluster.studies.sweep",
}

if not TYPE_CHECKING:  # otherwise type checkers would accept misspelt names

    def __getattr__(name: str) -> object:
        """Import a public name on first use; the command line starts without any of them."""
        if name not in _MODULES:
            raise AttributeError(f"module 'cluster' has no attribute {name!r}")
        value: object = getattr(import_module(_MODULES[name]), name)
        return value
