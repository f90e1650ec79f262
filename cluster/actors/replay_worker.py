"""The work of an actor for its cards in a replay: price rows, encode columns.

Each answer depends on its arguments alone. An actor that has nothing to price loads none of what
pricing needs: of many actors that is most of their memory.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cluster.actors.code_version import code_version
from cluster.replay.op_tables import CardOps, Seat, op_columns
from results.remote_parts import Encoded, encoded
from results.schema import OPS

if TYPE_CHECKING:
    from cluster.perf_model.prices import PriceInputs
    from cluster.perf_model.prices.program import RowJob, RowPrice


class ReplayWorkerState:
    """Some cards of the machine, and the work that is theirs."""

    def __init__(self, cards: Sequence[Seat]) -> None:
        self._seats = {seat.index: seat for seat in cards}

    def version(self) -> str:
        return code_version()

    def warm(self) -> None:
        """Compile what pricing needs, so that the machine code lies on this node's disk."""
        from cluster.perf_model.attention import ATTENTION, WIDTH, layer_products

        layer_products(np.zeros(1, ATTENTION), np.zeros((0, WIDTH), np.int64))

    def price(self, inputs: "PriceInputs", jobs: Sequence["RowJob"]) -> list["RowPrice"]:
        """Price distinct rows that these cards have."""
        from cluster.perf_model.prices.program import price_rows

        return price_rows(inputs, jobs)

    def encode(self, card: int, ops: CardOps) -> Encoded:
        """The card's part of the table ``ops``."""
        return encoded(OPS, op_columns(self._seats[card], ops))
