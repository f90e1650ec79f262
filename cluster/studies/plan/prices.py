"""Price tables of one shape, laid out for the compiled score."""

from typing import NamedTuple

import numpy as np

from cluster.perf_model.attention import ATTENTION, WIDTH, row_blocks
from cluster.perf_model.energy.coefficients import Joules
from cluster.perf_model.prices.steady_state import steady_decode
from cluster.perf_model.tables import PriceTables, Records
from cluster.studies.plan.bursts import Bursts
from cluster.studies.plan.chance import largest_of
from cluster.studies.plan.columns import CHUNK_COLUMNS, DECODE_COLUMNS
from cluster.studies.plan.step_tables import points_of, tabulate
from cluster.studies.plan.steps import (
    FLOOR,
    HEAD,
    PER_PASS,
    PER_QUERY,
    PICKED,
    REPLICAS,
    SEEN,
    SEND,
    STAGES,
    WINDOW,
    WORK,
)
from cluster.studies.plan.traffic import Traffic
from corsair_common.units import Floats, Integers


class PriceArrays(NamedTuple):
    """Inputs of the compiled functions: shape and traffic."""

    rates: Floats
    """[class, tokens, 4]"""
    stages: Floats
    """[class, 1 + kinds] stages of the class; layers of each kind in each."""
    units: Records
    """[kind, op] one layer of the kind."""
    kinds: Floats
    """[kind, 4] as named in ``steps``."""
    sums: Integers
    """[kind x MEASURES] scratch of the current step."""
    layer_ps: Floats
    """[kind] scratch: one layer's attention."""
    facts: Floats
    """[8] as named in ``steps``."""
    prompts: Floats
    """[g, 2] as ``Traffic`` has them."""
    joules: Floats
    """[tokens, 2] of all cards of a replica: a step by tokens, its head by rows."""
    measure_j: Floats
    """[kind x MEASURES] of one unit of each measure of attention."""


def price_arrays(prices: PriceTables, joules: Joules, traffic: Traffic, cards: int) -> PriceArrays:
    """Arrays of the slowest priced replica; its stages have ``cards`` cards."""
    replica = slowest_replica(prices)
    classes, counts = np.unique(prices.stage_class[replica], return_counts=True)
    rates = np.zeros((len(classes), prices.linear_ps.shape[1], 4))
    rates[:, :, WORK] = (prices.linear_ps + prices.collective_ps)[classes]
    rates[:, :, FLOOR], rates[:, :, SEND] = prices.floor_ps[classes], prices.send_ps[classes]
    heads = min(rates.shape[1], prices.head_ps.shape[1])
    rates[:, :heads, HEAD] = prices.head_ps[classes, :heads]
    kinds = np.zeros((len(prices.kinds), 5))
    kinds[:, WINDOW], kinds[:, PER_QUERY] = prices.kinds["window"], prices.kinds["clocks_per_query"]
    kinds[:, PER_PASS] = prices.kinds["clocks_per_pass"]
    kinds[:, SEEN] = [traffic.blocks[most] for most in row_blocks(prices.kinds).tolist()]
    kinds[:, PICKED] = prices.kinds["picked"]
    facts = (
        prices.stages,
        1,
        prices.return_ps[replica],
        joules.static_w * prices.stages * cards * 1e-12,
        largest_of(prices.stages),
        traffic.decodes,
        traffic.varied,
        traffic.random,
    )
    return PriceArrays(
        rates=rates,
        stages=np.column_stack([counts, _layers(prices, classes)]).astype(np.float64),
        units=_units(prices, classes),
        kinds=kinds,
        sums=np.zeros(len(kinds) * WIDTH, np.int64),
        layer_ps=np.zeros(len(kinds)),
        facts=np.array(facts, np.float64),
        prompts=traffic.prompts,
        joules=step_joules(prices, joules, replica) * cards,
        measure_j=measure_joules(prices, joules, replica) * cards,
    )


class ScoreInputs(NamedTuple):
    """Inputs of a candidate's score: the tables of its shape (see ``tabulate``)."""

    facts: Floats
    budgets: Floats
    """Ascending."""
    decode: Floats
    chunks: Floats
    bursts: Bursts


def score_inputs(
    of: PriceArrays, bursts: Bursts, budgets: Integers, max_num_seqs: int
) -> ScoreInputs:
    """Tabulate steps with all numbers of decoding rows of a slot up to ``max_num_seqs``."""
    rows = max(2, -(-max_num_seqs // int(of.facts[STAGES])))
    points = points_of(rows) + 1
    decode = np.zeros((points, DECODE_COLUMNS))
    chunks = np.zeros((len(budgets), points, CHUNK_COLUMNS))
    tabulate(of, budgets, decode, chunks)
    return ScoreInputs(of.facts, budgets.astype(np.float64), decode, chunks, bursts)


def of_replicas(tables: ScoreInputs, replicas: int) -> ScoreInputs:
    """The same tables for another number of replicas."""
    facts = tables.facts.copy()
    facts[REPLICAS] = replicas
    return tables._replace(facts=facts)


def step_joules(prices: PriceTables, joules: Joules, replica: int) -> Floats:
    """[tokens, 2] of one card of each stage together: counts, exchanges and sends; the head."""
    count_j, link_j = joules.count_j.sum(axis=-1), joules.link_j[replica].sum(axis=-1)
    classes = prices.stage_class[replica]
    each = prices.token_counts @ count_j
    heads = prices.head_counts @ count_j
    found = np.zeros((each.shape[1], 2))
    rows = min(each.shape[1], heads.shape[1])
    equal, times = np.unique(np.column_stack([classes, link_j]), axis=0, return_counts=True)
    for (number, *byte_j), count in zip(equal, times, strict=True):
        chosen = int(number)
        step_j = each[chosen] + prices.collective_bytes[chosen] @ np.array(byte_j[:-1])
        found[:, 0] += count * (step_j + prices.send_bytes[chosen] * byte_j[-1])
        found[:rows, 1] += count * heads[chosen, :rows]
    return found


def measure_joules(prices: PriceTables, joules: Joules, replica: int) -> Floats:
    """[kind x MEASURES] of one card of each stage together."""
    each: Floats = prices.attention_counts[prices.stage_class[replica]].sum(axis=0)
    spent: Floats = each @ joules.count_j.sum(axis=-1)
    return spent


def slowest_replica(prices: PriceTables) -> int:
    """The first replica with the longest decode step of one row; replicas differ in their links."""
    kinds = np.column_stack([prices.stage_class, prices.return_ps])
    _, first = np.unique(kinds, axis=0, return_index=True)
    cycles = [steady_decode(prices, batch=1, context=1, replica=int(each)) for each in first]
    return int(first[int(np.argmax([each.loop_ps for each in cycles]))])


def _layers(prices: PriceTables, classes: Integers) -> Integers:
    """[class, kind] layers of each kind."""
    found = np.zeros((len(classes), len(prices.kinds)), np.int64)
    for row, products in enumerate(prices.attention[classes]):
        for product in products[products["layers"] > 0]:
            found[row, product["kind"]] = product["layers"]
    return found


def _units(prices: PriceTables, classes: Integers) -> Records:
    """[kind, op] one layer of each kind, from the first class that has such a layer."""
    units = np.zeros((len(prices.kinds), prices.attention.shape[1]), ATTENTION)
    for kind, unit in enumerate(units):
        for products in prices.attention[classes]:
            own = (products["kind"] == kind) & (products["layers"] > 0)
            if own.any():
                unit[own] = products[own]
                unit["layers"][own] = 1
                break
    return units
