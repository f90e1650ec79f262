"""Simulate d-Matrix Corsair inference racks: latency, throughput, energy, cost, and their causes.

Functions: ``load`` a scenario, ``simulate`` serving of a request trace, ``replay`` an operation
trace, ``sweep`` a scenario in many variants, ``plan`` how to lay a model on a cluster,
``sensitivity`` to assumptions, ``decide`` between two plans, ``compare_tco`` of two kinds of
hardware, ``open_run`` and ``open_sweep`` to read results from disk; ``Progress`` observes any of
them. The other names are the types that these functions take, return and raise. Everything is
imported on first use: ``import corsair_sim`` is cheap.

>>> from corsair_sim import load, simulate
>>> run = simulate(load(workload={"synthetic": {"requests": 20}}))
>>> run.summary["completed"]
20
"""

from importlib import import_module
from typing import TYPE_CHECKING

from corsair_sim.import_check import PackageConflictError, check_packages

if TYPE_CHECKING:
    from cluster import (
        Choices,
        Decision,
        Plans,
        Progress,
        ReplayRun,
        Run,
        Scenario,
        ScenarioError,
        Sensitivity,
        TcoComparison,
        compare_tco,
        decide,
        load,
        plan,
        sensitivity,
        simulate,
        sweep,
    )
    from cluster import replay_trace as replay
    from results import ResultsError, Sweep, open_run, open_sweep
    from results import Run as SavedRun

__all__ = [
    "Choices",
    "Decision",
    "PackageConflictError",
    "Plans",
    "Progress",
    "ReplayRun",
    "ResultsError",
    "Run",
    "SavedRun",
    "Scenario",
    "ScenarioError",
    "Sensitivity",
    "Sweep",
    "TcoComparison",
    "compare_tco",
    "decide",
    "load",
    "open_run",
    "open_sweep",
    "plan",
    "replay",
    "sensitivity",
    "simulate",
    "sweep",
]

_ELSEWHERE = {
    "ResultsError": ("results", "ResultsError"),
    "SavedRun": ("results", "Run"),
    "Sweep": ("results", "Sweep"),
    "open_run": ("results", "open_run"),
    "open_sweep": ("results", "open_sweep"),
    "replay": ("cluster", "replay_trace"),
}
"""Names that are not found under the same name in ``cluster``."""

if not TYPE_CHECKING:  # else every misspelt name would pass as one of ours

    def __getattr__(name: str) -> object:
        """Import a public name on first use, after a look at whose packages would be imported."""
        if name not in __all__:
            from difflib import get_close_matches

            near = get_close_matches(name, __all__, n=1)
            hint = f"; nearest: {near[0]}" if near else ""
            raise AttributeError(f"module 'corsair_sim' has no attribute {name!r}{hint}")
        check_packages()
        module, attribute = _ELSEWHERE.get(name, ("cluster", name))
        value: object = getattr(import_module(module), attribute)
        globals()[name] = value  # the next look-up does not come here
        return value


def __dir__() -> list[str]:
    """The public names only, for tab completion and ``help``."""
    return [*__all__]
