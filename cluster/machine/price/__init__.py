"""Price tables: what a step of any size costs at any stage, tabulated once over the integers."""

from cluster.machine.price.build import price_tables
from cluster.machine.price.inputs import PriceError, PriceInputs
from cluster.machine.price.steady import SteadyDecode, steady_decode

__all__ = [
    "PriceError",
    "PriceInputs",
    "SteadyDecode",
    "price_tables",
    "steady_decode",
]
