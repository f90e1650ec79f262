"""MXINT4 against MXINT8: the ridge of a product, and the effect on a model.

A product takes as long as its weights take to stream until the batch reaches the ridge, and as long
as its arithmetic from there on. Below, one product as the chiplet runs it; then steady decode and
prefill of a model, from the price tables that the engines use.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, attention_ps, measures_of
from cluster.perf_model.devices.dimc import BOUNDS, DimcCard
from cluster.perf_model.devices.dimc.chiplet import picoseconds, product_clocks
from cluster.perf_model.devices.work import Product
from cluster.perf_model.prices import SteadyDecode, steady_decode
from cluster.perf_model.prices.inputs import device_for
from cluster.scenario.load import load
from cluster.scenario.memory_modes import UNIFORM_MODES
from cluster.scenario.resolve import resolve
from cluster.serving.run import Layout, Machine, lay_out, priced

MODEL = "llama-3.1-8b"
CONTEXT_TOKENS = 1024
PREFILL_TOKENS = 512
BATCHES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
PRODUCT = (4096, 28672)
"""k and n: gate and up of Llama-3.1-8B, the largest product of a layer, on one card."""

PAIRS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "MXINT8": ("mxint8", "mxint8"),
        "MXINT4 weights": ("mxint4", "mxint8"),
        "MXINT4": ("mxint4", "mxint4"),
    }
)
"""Formats of weights and of activations; the cache stays MXINT8, the wire FP16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRow:
    """A product of ``batch`` vectors with weights in SRAM, on one card."""

    pair: str
    batch: int
    seconds: float
    tflops: float
    """Rate of the card in 10^12 flop/s, two per multiply-add."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRow:
    """Steady decode of a model on one server."""

    pair: str
    mode: str
    """Memory mode."""
    batch: int
    """Sequences of the replica."""
    tpot_s: float
    tokens_per_s: float
    shares: Mapping[str, float]
    """Of a slot's loop, by bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFacts:
    """Figures of a pair of formats that do not depend on the batch."""

    pair: str
    weights: str
    activations: str
    ridge: int
    """Vectors per tile at which arithmetic takes as long as streaming the next tile."""
    most_sequences: int
    """Of the context that fit beside the weights in SRAM."""
    prefill_tokens_per_s: float
    """Of a replica whose stages are full of chunks of 512 tokens, weights in SRAM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridge:
    """The whole comparison."""

    facts: tuple[PairFacts, ...]
    products: tuple[ProductRow, ...]
    decodes: tuple[DecodeRow, ...]
    product_shape: tuple[int, int] = PRODUCT
    context_tokens: int = CONTEXT_TOKENS
    modes: tuple[str, ...] = UNIFORM_MODES


def compare_pairs(model: str = MODEL, batches: tuple[int, ...] = BATCHES) -> Ridge:
    """Price the products and the model for every pair, mode and batch that fits.

    Raises
    ------
    ModelError, PlanError, DoesNotFit, PriceError
        A model that is unknown, or that a server of eight cards (TP 4 x PP 2) cannot hold.
    """
    facts, products, decodes = [], [], []
    for pair in PAIRS:
        for mode in UNIFORM_MODES:
            layout = laid_out(pair, mode, model, max(batches))
            machine = priced(layout)
            most = _most_sequences(layout)
            if mode == UNIFORM_MODES[0]:
                facts.append(_facts(pair, layout, machine, most))
                products += _products(pair, card_of(layout))
            decodes += [
                _decode(pair, mode, steady_decode(machine.prices, batch=b, context=CONTEXT_TOKENS))
                for b in batches
                if b <= most
            ]
    return Ridge(facts=tuple(facts), products=tuple(products), decodes=tuple(decodes))


def product_seconds(card: DimcCard, batch: int) -> float:
    """Of the product of PRODUCT with ``batch`` vectors, cut by columns over the card's chiplets."""
    k, n = PRODUCT
    product = Product(m=np.array([batch]), k=k, n=card.of_card(n))
    clocks = product_clocks(card.chiplet, card.mode, product)[0]
    return float(picoseconds(card.chiplet, clocks)[0]) * 1e-12


def card_of(layout: Layout) -> DimcCard:
    """The study is of what DIMC cores do with narrow operands."""
    card = device_for(layout.inputs)
    if not isinstance(card, DimcCard):
        raise TypeError(f"{layout.inputs.hardware} is no DIMC card")
    return card


def laid_out(pair: str, mode: str, model: str, most: int) -> Layout:
    """The model on the cards that it takes, in a pair of formats."""
    weights, activations = PAIRS[pair]
    scenario = load(
        model=model,
        formats={"weights": weights, "activations": activations},
        memory={"mode": mode},
        scheduler={"max_num_seqs": most},
    )
    return lay_out(resolve(scenario))


def _most_sequences(layout: Layout) -> int:
    """Of CONTEXT_TOKENS and a begun block each."""
    tokens = -(-(CONTEXT_TOKENS + 1) // BLOCK_TOKENS) * BLOCK_TOKENS
    return layout.fit.blocks * layout.fit.block_size // tokens


def _facts(pair: str, layout: Layout, machine: Machine, most: int) -> PairFacts:
    card = card_of(layout)
    weights, activations = PAIRS[pair]
    return PairFacts(
        pair=pair,
        weights=weights,
        activations=activations,
        ridge=card.ridge_rows,
        most_sequences=most,
        prefill_tokens_per_s=PREFILL_TOKENS / _slowest_prefill_s(machine),
    )


def _slowest_prefill_s(machine: Machine) -> float:
    """One first chunk of PREFILL_TOKENS at the stage that it keeps longest."""
    prices, tokens = machine.prices, PREFILL_TOKENS
    kind = prices.kinds[0]
    passes = -(-tokens * int(kind["clocks_per_query"]) // int(kind["clocks_per_pass"]))
    measures = measures_of(len(prices.kinds), prefill_passes=tokens // BLOCK_TOKENS * passes)
    work = [
        int(prices.linear_ps[c, tokens] + prices.collective_ps[c, tokens])
        + attention_ps(prices.attention[c], measures)
        for c in prices.stage_class[0]
    ]
    return max(work) * 1e-12


def _products(pair: str, card: DimcCard) -> list[ProductRow]:
    k, n = PRODUCT
    rows = []
    for batch in BATCHES:
        seconds = product_seconds(card, batch)
        tflops = 2 * batch * k * n / seconds / 1e12
        rows.append(ProductRow(pair=pair, batch=batch, seconds=seconds, tflops=tflops))
    return rows


def _decode(pair: str, mode: str, steady: SteadyDecode) -> DecodeRow:
    parts = steady.loop_by_bound_ps / steady.loop_by_bound_ps.sum()
    return DecodeRow(
        pair=pair,
        mode=mode,
        batch=steady.batch,
        tpot_s=steady.tpot_s,
        tokens_per_s=steady.tokens_per_s,
        shares=dict(zip(BOUNDS, parts.tolist(), strict=True)),
    )


def plain(found: Ridge) -> dict[str, object]:
    """The comparison as JSON has it."""
    return asdict(found)


def drawn(found: Ridge) -> list[dict[str, object]]:
    """Points of the figure's panels."""
    points: list[dict[str, object]] = []
    for row in found.products:
        own = {"series": row.pair, "batch": row.batch}
        points.append({**own, "panel": "one product, us", "value": row.seconds * 1e6})
    for row in found.products:
        own = {"series": row.pair, "batch": row.batch}
        points.append({**own, "panel": "one product, TFLOPS of a card", "value": row.tflops})
    return points + [
        {
            "series": row.pair,
            "batch": row.batch,
            "panel": f"decode, {row.mode} mode, tokens/s",
            "value": row.tokens_per_s,
        }
        for row in found.decodes
    ]
