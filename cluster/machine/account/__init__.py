"""What every stage did when: the step log and the prices, summed into time bins."""

from cluster.machine.account.bins import Bins
from cluster.machine.account.book import FIRST_BIN_PS, Account, AccountError

__all__ = ["FIRST_BIN_PS", "Account", "AccountError", "Bins"]
