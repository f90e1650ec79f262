"""The machine in motion: the trunk, the only room that imports the others."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.replay_run import ReplayRun, replay_trace
    from cluster.run import Run, simulate
    from cluster.scenario.load import load
    from cluster.studies.plan.study import plan
    from cluster.studies.sweep import sweep
else:

    def __getattr__(name):
        """Open the Python door when it is first asked for; the command line starts without it."""
        if name == "load":
            from cluster.scenario.load import load

            return load
        if name in ("Run", "simulate"):
            from cluster import run

            return getattr(run, name)
        if name in ("ReplayRun", "replay_trace"):
            from cluster import replay_run

            return getattr(replay_run, name)
        if name == "plan":
            from cluster.studies.plan.study import plan

            return plan
        if name == "sweep":
            from cluster.studies.sweep import sweep

            return sweep
        raise AttributeError(f"module 'cluster' has no attribute {name!r}")


__all__ = ["ReplayRun", "Run", "load", "plan", "replay_trace", "simulate", "sweep"]
