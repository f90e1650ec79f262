"""The ``cost`` block of a scenario: where the price of a card comes from."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_serializer

from cluster.scenario.base import Part
from topology.catalog import Hardware
from topology.catalog.parts import CARD_PRICE, priced_from_parts


class CostError(ValueError):
    """A price that is set twice."""

    exit_code: ClassVar[int] = 2


class Cost(Part):
    """Where a card's price comes from: ``list`` (``cost.card_usd``), or its bill of ``parts``."""

    from_: Literal["list", "parts"] = Field(default="list", alias="from")

    @model_serializer
    def _as_written(self) -> dict[str, str]:
        return {"from": self.from_}


def priced_hardware(cost: Cost, hardware_set: Mapping[str, float], hardware: Hardware) -> Hardware:
    """The hardware with the price that the scenario wants.

    Raises
    ------
    CostError
        ``hardware_set`` has a price as well.
    """
    if cost.from_ == "list":
        return hardware
    if CARD_PRICE in hardware_set:
        raise CostError(
            f"the price of a card is set twice: hardware_set.{CARD_PRICE} and cost.from: parts; "
            "leave one out"
        )
    return priced_from_parts(hardware)
