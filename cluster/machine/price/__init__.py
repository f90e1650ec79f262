"""Price tables: what a step of any size costs at any stage, tabulated once over the integers."""

from cluster.machine.price.build import Pricing, StageJob, price_stages, price_tables
from cluster.machine.price.inputs import PriceError, PriceInputs
from cluster.machine.price.stage import StagePrice
from cluster.machine.price.steady import SteadyDecode, steady_decode

__all__ = [
    "PriceError",
    "PriceInputs",
    "Pricing",
    "StageJob",
    "StagePrice",
    "SteadyDecode",
    "price_stages",
    "price_tables",
    "steady_decode",
]
