"""Price tables: time of a step of any size at any stage, tabulated once over the integers."""

from cluster.perf_model.prices.inputs import PriceError, PriceInputs
from cluster.perf_model.prices.stage import StagePrice
from cluster.perf_model.prices.steady_state import (
    SteadyDecode,
    prompt_stages_ps,
    sends_ps,
    steady_decode,
)
from cluster.perf_model.prices.tables import Pricing, StageJob, price_stages, price_tables

__all__ = [
    "PriceError",
    "PriceInputs",
    "Pricing",
    "StageJob",
    "StagePrice",
    "SteadyDecode",
    "price_stages",
    "price_tables",
    "prompt_stages_ps",
    "sends_ps",
    "steady_decode",
]
