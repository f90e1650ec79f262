"""Activity of every stage over time: the step log and the prices, summed into time bins."""

from cluster.perf_model.timeline.accumulate import FIRST_BIN_PS, Account, AccountError
from cluster.perf_model.timeline.bins import Bins

__all__ = ["FIRST_BIN_PS", "Account", "AccountError", "Bins"]
