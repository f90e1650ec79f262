"""Price tables of one shape, laid out for the compiled score."""

from dataclasses import dataclass

import numpy as np

from cluster.machine.attention import SHAPE
from cluster.machine.price.steady import steady_decode
from cluster.machine.tables import PriceTables, Records
from cluster.studies.plan.steps import FLOOR, HEAD, SEND, WORK
from cluster.studies.plan.traffic import Floats, Traffic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Laid:
    """What the compiled functions are given of a shape."""

    rates: Floats
    """[class, tokens, 4]"""
    stages: Floats
    """[class, 3] stages of the class; full and windowed layers of each."""
    units: Records
    """[2] one full and one windowed layer."""
    facts: Floats
    """[8] as named in ``cycle``."""


def laid(prices: PriceTables, traffic: Traffic, replicas: int) -> Laid:
    """Lay out the slowest replica that is priced, of so many; equal classes are joined."""
    replica = slowest_replica(prices)
    classes, counts = np.unique(prices.stage_class[replica], return_counts=True)
    rates = np.zeros((len(classes), prices.linear_ps.shape[1], 4))
    rates[:, :, WORK] = (prices.linear_ps + prices.collective_ps)[classes]
    rates[:, :, FLOOR], rates[:, :, SEND] = prices.floor_ps[classes], prices.send_ps[classes]
    heads = min(rates.shape[1], prices.head_ps.shape[1])
    rates[:, :heads, HEAD] = prices.head_ps[classes, :heads]
    layers = prices.attention["layers"][classes].astype(np.float64)
    facts = (
        prices.stages,
        replicas,
        prices.return_ps[replica],
        prices.clocks_per_query,
        prices.window_tokens,
        traffic.decodes,
        traffic.blocks,
        traffic.blocks_windowed,
    )
    return Laid(
        rates=rates,
        stages=np.column_stack([counts.astype(np.float64), layers]),
        units=_units(prices.attention[classes]),
        facts=np.array(facts, np.float64),
    )


def slowest_replica(prices: PriceTables) -> int:
    """Replicas stand on other cables: the first of those whose lone decode step takes longest."""
    kinds = np.column_stack([prices.stage_class, prices.return_ps])
    _, first = np.unique(kinds, axis=0, return_index=True)
    cycles = [steady_decode(prices, batch=1, context=1, replica=int(each)) for each in first]
    return int(first[int(np.argmax([each.loop_ps for each in cycles]))])


def _units(attention: Records) -> Records:
    """[2] one layer of each kind, of the first class that has any."""
    units = np.zeros(attention.shape[1], SHAPE)
    for kind in range(attention.shape[1]):
        having = np.flatnonzero(attention["layers"][:, kind])
        if len(having):
            units[kind] = attention[having[0], kind]
            units["layers"][kind] = 1
    return units


