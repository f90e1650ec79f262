"""Fewest cards that can hold some traffic, from capacity alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.devices import device_words, module_of
from cluster.perf_model.memory.stage import chiplets_of
from cluster.scenario.formats import Formats
from cluster.scenario.memory_modes import Mode
from cluster.studies.plan.promise import Promise, span_s
from corsair_common.units import Integers
from topology.catalog import Hardware
from workloads.model import Model
from workloads.model.size import kv_bytes_per_token, weight_bytes

UNEVEN = 2.6
"""Factor by which replicas of several stages were measured to serve more than their scored
capacity if answers have one length (docs/plans.md); else they served less or up to 13 % more."""
MARGIN = 1.13


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """No plan of fewer cards can hold the traffic."""

    cards: int
    because: str


def bounds_of(scores: Promise) -> tuple[Bound, ...]:
    """Bounds for the traffic and the choices of a search, the highest first."""
    found = [*_memory(scores), *_arithmetic(scores), *_capacity(scores)]
    return tuple(sorted(found, key=lambda each: -each.cards))


def _memory(scores: Promise) -> Iterator[Bound]:
    """Weights, and KV by Little's law: requests stay for their decode steps at least."""
    resolved, rate = scores.resolved, scores.rate_per_s
    if not scores.scored.shapes:
        return
    tpot_s = float(np.nan_to_num(scores.columns["tpot_ms"]).min(initial=np.inf)) / 1e3
    inside = rate * scores.scored.decodes * tpot_s if rate and np.isfinite(tpot_s) else 0.0
    context = float(resolved.requests.prompt_tokens.mean())
    kinds = {(shape.memory_mode, shape.formats) for shape in scores.scored.shapes}
    yield min(
        (_room(resolved.model, resolved.hardware, kind, inside * context) for kind in kinds),
        key=lambda each: each.cards,
    )


def _room(model: Model, hardware: Hardware, kind: tuple[Mode, Formats], kv_tokens: float) -> Bound:
    """Cards whose memory holds the weights and so many tokens of KV."""
    (mode, formats), room, chiplets = (
        kind,
        module_of(hardware).room(hardware),
        chiplets_of(hardware),
    )
    near_bytes, far_bytes = chiplets * room.near_bytes, chiplets * room.far_bytes
    weights = weight_bytes(model, formats.weights)
    full = all(layer.attention.window == 0 for layer in model.layers)
    copies = module_of(hardware).latent_copies(hardware)
    kv = kv_tokens * kv_bytes_per_token(model, formats.kv, copies) if full else 0.0
    near, *far = (name.upper() for name in device_words(hardware).memories)
    if mode == "performance" or not far:
        cards, where, each = (weights + kv) / near_bytes, near, near_bytes
    elif mode == "capacity":
        cards, where, each = weights / far_bytes, far[0], far_bytes
    else:
        each = near_bytes + far_bytes
        cards, where = (weights + kv) / each, f"{near} and {far[0]}"
    beside = f" and {kv / 1e9:.1f} GB of KV in use (Little's law)" if kv and where == near else ""
    return Bound(
        cards=math.ceil(cards),
        because=f"its weights ({weights / 1e9:.1f} GB in {formats.weights.name}){beside} need the "
        f"{where} of so many cards, {each / 1e9:.2f} GB each",
    )


def _arithmetic(scores: Promise) -> Iterator[Bound]:
    """Products of the layers' weights with every token, at peak rate from the first arrival to the
    end of the last request that counts."""
    resolved, limits = scores.resolved, scores.objective.limits
    requests, model = resolved.requests, resolved.model
    wait_s = limits.get("e2e_s", limits.get("ttft_s", math.inf))
    if resolved.concurrency or resolved.prefix_caching or wait_s == math.inf:
        return
    tokens = _fewest(requests.prompt_tokens, scores.objective.spare(len(requests)))
    device, seconds = module_of(resolved.hardware), span_s(resolved) + wait_s
    parameters = model.active_parameters - 2 * model.hidden * model.vocab
    peaks = [
        device.peak_flop_per_s(
            resolved.hardware, shape.formats.weights, shape.formats.activations.element_bits
        )
        for shape in scores.scored.shapes
    ]
    peak = max((each for each in peaks if each), default=0.0)
    if peak and parameters > 0:
        yield Bound(
            cards=math.ceil(2.0 * parameters * tokens / seconds / peak),
            because=f"prompts of {tokens / seconds:,.0f} tokens/s take so many at their peak of "
            f"{peak / 1e12:,.0f} TFLOPS",
        )


def _fewest(tokens: Integers, spare: int) -> int:
    """Sum without the ``spare`` largest."""
    return int(np.sort(tokens)[: len(tokens) - spare].sum())


def _capacity(scores: Promise) -> Iterator[Bound]:
    """The most that a card serves in any scored candidate."""
    rate, columns = scores.rate_per_s, scores.columns
    if rate is None or not len(columns["cards"]):
        return
    outputs = scores.resolved.requests.output_tokens
    equal = bool(outputs.min() == outputs.max() > 1)
    stages, group = (columns[f"{name}_parallel_size"] for name in ("pipeline", "tensor"))
    margin = np.where(equal & (stages > 1), UNEVEN, MARGIN)
    whole = np.ceil(np.maximum(scores.load(rate) * columns["replicas"] / margin, 1.0))
    whole[_crowded(scores)] = 1.0
    cards = whole * stages * group
    best = int(np.argmin(cards))
    yield Bound(
        cards=int(cards[best]),
        because=f"of {rate:,.1f} requests/s that come, a replica serves "
        f"{rate / float(scores.load(rate)[best] * columns['replicas'][best]):,.1f} as scored; with "
        f"its largest measured error, {int(whole[best])} x (TP {group[best]} x PP {stages[best]}) "
        "is the least that keeps up",
    )


def _crowded(scores: Promise) -> npt.NDArray[np.bool_]:
    """[n] candidates of shapes whose scores do not tell their capacity: with the most sequences,
    decodes leave no room for prompts in any budget, which a score takes as lasting."""
    columns, shape = scores.columns, scores.scored.shape
    most = np.zeros(len(scores.scored.shapes), np.int64)
    np.maximum.at(most, shape, columns["max_num_seqs"])
    rows = -(-columns["max_num_seqs"] // columns["pipeline_parallel_size"])
    roomy = (columns["max_num_seqs"] == most[shape]) & (columns["max_num_batched_tokens"] > rows)
    crowded: npt.NDArray[np.bool_] = ~np.isin(shape, shape[roomy])
    return crowded
