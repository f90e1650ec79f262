# A package of corsair-sim (corsair_sim/import_check.py looks for this line).
"""Result tables: writing and reading runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.api import Run, open_run
    from results.errors import ResultsError
    from results.sweep import Sweep, open_sweep
else:

    def __getattr__(name):
        """Import the reading side on first use, since it imports pyarrow."""
        if name in ("Run", "open_run"):
            from results import api

            return getattr(api, name)
        if name in ("Sweep", "open_sweep"):
            from results import sweep

            return getattr(sweep, name)
        if name == "ResultsError":
            from results.errors import ResultsError

            return ResultsError
        raise AttributeError(f"module 'results' has no attribute {name!r}")


__all__ = ["ResultsError", "Run", "Sweep", "open_run", "open_sweep"]
