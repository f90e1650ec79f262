"""Prices of drafting: a class of its own beside those of the model (``PriceTables.draft_stages``).

After a step of t tokens, e requests of which emit, a draft model computes the t tokens, and drafts
one token for each of the e; then it has k - 1 steps of e decode rows more. So a class of drafting
has the first pass by tokens (``linear_ps``, ``collective_ps``, ``floor_ps``) and all else by e
(``head_ps``): k times its LM head, and k - 1 times the layers of e tokens. Its attention has kinds
of layers of its own, behind those of the model, whose ``prefill_*`` measures are those of the first
pass, and ``decode_blocks`` those of e rows.

Left out: the token that a draft model adds to each row, the growth of the context by the k - 1
tokens, and the bytes of collectives of the later passes on links (their time is in).
"""

from dataclasses import replace
from typing import Any

import numpy as np

from cluster.perf_model.attention import ATTENTION
from cluster.perf_model.prices.inputs import PriceError
from cluster.perf_model.tables import FAR_BLOCKS, KINDS, MEASURES, PriceTables, Records
from corsair_common.units import Integers

WIDTH = len(MEASURES)
_OF_TOKENS = ("linear_ps", "collective_ps", "floor_ps", "linear_by_bound_ps", "send_bytes")
_COUNTED = ("collective_bytes", "token_counts", "head_counts")
PASSED = (*_OF_TOKENS, *_COUNTED, "head_ps", "head_by_bound_ps")
"""Tables of a class that a draft's are appended to as they are."""
BY_CLASS = (*_OF_TOKENS, *_COUNTED, "send_ps", "attention", "far_block_ps", "attention_counts")
"""All tables of a class but those of its head's time."""
DECODE_FIELDS = ("a_decode_blocks", "b_decode_blocks")
PREFILL_FIELDS = tuple(
    f"{form}_{name}" for form in "ab" for name in MEASURES[1:FAR_BLOCKS]
)  # of an attention record


def with_drafting(
    prices: PriceTables, draft: PriceTables, drafts: int, *, sent_ps: tuple[Integers, Integers]
) -> PriceTables:
    """The model's prices with a class of drafting, by the draft model's.

    ``sent_ps`` are [t] to cards of their own and back; both empty: on the cards of the last stage,
    which are of the same hardware.

    Raises
    ------
    PriceError
        Model and draft have more kinds of layers than are modelled.
    """
    kinds = len(prices.kinds) + len(draft.kinds)
    if kinds > KINDS:
        raise PriceError(
            f"model and draft have {kinds} kinds of layers, at most {KINDS} are modelled"
        )
    apart = len(sent_ps[0]) > 0
    passed = drafted_passes(draft, drafts, prices.head_ps.shape[1])
    if apart:
        passed = _without_counts(passed, prices)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(prices, name), getattr(passed, name)]) for name in PASSED
    }
    send_ps = np.concatenate([prices.send_ps, passed.send_ps])
    if apart:
        send_ps[np.unique(prices.stage_class[:, -1])] = sent_ps[0]
        send_ps[len(prices.send_ps) :] = sent_ps[1]
    return replace(
        prices,
        **joined,
        send_ps=send_ps,
        attention=_attention(prices, passed, drafts),
        far_block_ps=_blocks(prices.far_block_ps, np.zeros_like(passed.far_block_ps)),
        attention_counts=_blocks(prices.attention_counts, _counted(passed, drafts)),
        stage_class=np.hstack([prices.stage_class, draft.stage_class + len(prices.linear_ps)]),
        kinds=np.concatenate([prices.kinds, draft.kinds]),
        collective_by_tier_ps=_tiers(
            prices.collective_by_tier_ps, passed.collective_by_tier_ps, apart=apart
        ),
        head_by_tier_ps=_tiers(prices.head_by_tier_ps, passed.head_by_tier_ps, apart=apart),
        draft_stages=1,
        draft_apart=apart,
        draft_kinds=len(draft.kinds),
    )


def _tiers(own: Integers, others: Integers, *, apart: bool) -> Integers:
    """[class, t, tier] of both, where the model's are split; those of other cards are of none."""
    if not own.size:
        return own
    if apart:
        others = np.zeros((len(others), *own.shape[1:]), np.int64)
    return np.concatenate([own, others])


def drafted_passes(draft: PriceTables, drafts: int, heads: int) -> PriceTables:
    """The draft model's prices, with all passes but the first in the tables of ``heads`` rows."""
    rows = np.arange(heads)
    tokens = np.minimum(rows, draft.linear_ps.shape[1] - 1)
    at = np.minimum(rows, draft.head_ps.shape[1] - 1)
    layers = draft.linear_by_bound_ps[:, tokens].copy()
    layers[..., draft.bounds.index("network")] += draft.collective_ps[:, tokens]
    waits = np.maximum(0, draft.floor_ps[:, tokens] - layers.sum(axis=-1))
    layers[..., draft.far_bound] += waits
    layers[:, 0] = 0
    by_bound = drafts * draft.head_by_bound_ps[:, at] + (drafts - 1) * layers
    by_bound[:, 0] = 0  # no request emits: nothing is drafted
    tiers = draft.head_by_tier_ps
    if tiers.size:
        tiers = drafts * tiers[:, at] + (drafts - 1) * draft.collective_by_tier_ps[:, tokens]
        tiers[:, 0] = 0
    counts = drafts * draft.head_counts[:, at] + (drafts - 1) * draft.token_counts[:, tokens]
    counts[:, 0] = 0
    return replace(
        draft,
        head_by_bound_ps=by_bound,
        head_ps=by_bound.sum(axis=-1),
        head_counts=counts,
        head_by_tier_ps=tiers,
        send_ps=np.zeros_like(draft.send_ps),
        send_bytes=np.zeros_like(draft.send_bytes),
    )


def host_drafting(prices: PriceTables, host_ps: int, bound: int) -> PriceTables:
    """Drafts without a model: so much of the host's time for each request, of this bound."""
    zeros = {name: np.zeros_like(getattr(prices, name)[:1]) for name in BY_CLASS}
    head = np.zeros_like(prices.head_by_bound_ps[:1])
    head[..., bound] = host_ps * np.arange(head.shape[1])
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(prices, name), table]) for name, table in zeros.items()
    }
    tiers, of_head = prices.collective_by_tier_ps, prices.head_by_tier_ps
    last = np.full((prices.replicas, 1), len(prices.linear_ps), np.int64)
    return replace(
        prices,
        **joined,
        head_by_bound_ps=np.concatenate([prices.head_by_bound_ps, head]),
        head_ps=np.concatenate([prices.head_ps, head.sum(axis=-1)]),
        stage_class=np.hstack([prices.stage_class, last]),
        collective_by_tier_ps=np.concatenate([tiers, np.zeros_like(tiers[:1])]),
        head_by_tier_ps=np.concatenate([of_head, np.zeros_like(of_head[:1])]),
        draft_stages=1,
    )


def _without_counts(draft: PriceTables, prices: PriceTables) -> PriceTables:
    """Times alone, in the other's columns: cards of other hardware have other bounds and counts."""

    def zeros(like: Integers, of: Integers) -> Integers:
        return np.zeros((len(of), of.shape[1], like.shape[2]), np.int64)

    names = ("linear_by_bound_ps", "head_by_bound_ps", "collective_bytes", "token_counts")
    emptied: dict[str, Any] = {
        name: zeros(getattr(prices, name), getattr(draft, name)) for name in (*names, "head_counts")
    }
    return replace(
        draft,
        **emptied,
        attention_counts=np.zeros(
            (*draft.attention_counts.shape[:2], prices.attention_counts.shape[2]), np.int64
        ),
    )


def _attention(prices: PriceTables, draft: PriceTables, drafts: int) -> Records:
    """[class, op] of both: first passes of the draft have chunks only, the later ones decodes."""
    first, later = draft.attention.copy(), draft.attention.copy()
    for name in DECODE_FIELDS:
        first[name] = 0
    for name in PREFILL_FIELDS:
        later[name] = 0
    later["layers"] *= drafts - 1
    own = np.concatenate([first, later], axis=1)
    own["kind"] += len(prices.kinds)
    ops = max(prices.attention.shape[1], own.shape[1])
    return np.concatenate([_padded(prices.attention, ops), _padded(own, ops)])


def _padded(records: Records, ops: int) -> Records:
    out = np.zeros((len(records), ops), ATTENTION)
    out[:, : records.shape[1]] = records
    return out


def _counted(draft: PriceTables, drafts: int) -> Integers:
    """Counts of a unit of each measure: of decode rows, of all passes but the first."""
    counts = draft.attention_counts.copy()
    counts[:, ::WIDTH] *= drafts - 1
    counts[:, FAR_BLOCKS::WIDTH] = 0
    return counts


def _blocks(one: Any, other: Any) -> Any:
    """Block-diagonal: each class has columns of its own kinds only."""
    shape = (len(one) + len(other), one.shape[1] + other.shape[1], *one.shape[2:])
    out = np.zeros(shape, one.dtype)
    out[: len(one), : one.shape[1]] = one
    out[len(one) :, one.shape[1] :] = other
    return out
