"""Tables of single operations beside what the device model takes for each, apart from any engine.

Sums of wrong parts can be right; these errors show the parts. Of one shape measured with several
kernels the fastest counts, as engines choose it.
"""

from cluster.studies.scoreboard.operations.score import KINDS, LAYOUTS, operations

__all__ = ["KINDS", "LAYOUTS", "operations"]
