"""Checks of the engines' inputs: each function raises ValueError with the invalid value."""

import difflib

import numpy as np

from cluster.perf_model.tables import KINDS, PriceTables, TooSlowError
from cluster.scenario.memory_modes import KV_POLICIES, KV_WRITES
from cluster.scenario.routers import DRAWN, ROUTERS, WEIGHTS
from cluster.serving.interface import Arrivals, Limits, Speculation
from cluster.serving.kernel.state import LAST_PS
from corsair_common.units import NEVER, Integers

MOST_TOKENS = 2**40
"""Of one request; more would not overflow, but is certainly a mistake."""
LONGEST_STEP_PS = 10**16
"""Of all tables together; bounds a step's end to int64."""


def check_limits(limits: Limits) -> None:
    """Every number at least 1, a known router."""
    for name in ("max_num_seqs", "max_num_batched_tokens", "block_size", "blocks", "max_model_len"):
        if not getattr(limits, name) >= 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(limits, name)!r}")
    if not limits.concurrency >= 0:
        raise ValueError(f"concurrency must be 0 (open loop) or more, got {limits.concurrency!r}")
    if not limits.long_prefill_token_threshold >= 0:
        raise ValueError(
            "long_prefill_token_threshold must be 0 (none) or more, "
            f"got {limits.long_prefill_token_threshold!r}"
        )
    _check_speculation(limits, limits.speculation)
    if limits.windowed is not None and limits.prefix_caching:
        raise ValueError("windowed layers free no blocks with prefix_caching")
    if not limits.sram_blocks >= 0:
        raise ValueError(f"sram_blocks must be 0 or more, got {limits.sram_blocks!r}")
    if not 0 <= limits.ready_ps <= LAST_PS:
        raise ValueError(f"ready_ps must lie in 0..{LAST_PS}, got {limits.ready_ps!r}")
    _check_tiers(limits)
    _check_router(limits)


def _check_tiers(limits: Limits) -> None:
    """Sizes and times of KV tiers, below blocks with keys."""
    if limits.kv_write not in KV_WRITES:
        raise ValueError(f"kv_write is one of {', '.join(KV_WRITES)}, got {limits.kv_write!r}")
    if limits.kv_policy not in KV_POLICIES:
        allowed = ", ".join(KV_POLICIES)
        raise ValueError(f"kv_policy is one of {allowed}, got {limits.kv_policy!r}")
    for tier in limits.kv_tiers:
        if not limits.prefix_caching:
            raise ValueError("kv_tiers need prefix_caching")
        if tier.blocks < 1 or not 0 <= tier.block_ps <= LAST_PS or not tier.latency_ps >= 0:
            raise ValueError(f"a tier needs blocks of at least 1 and times of at least 0: {tier}")


def _check_router(limits: Limits) -> None:
    """A known router, with as many weights as it has."""
    if limits.router not in ROUTERS:
        near = difflib.get_close_matches(limits.router, ROUTERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown router {limits.router!r}, one of {', '.join(ROUTERS)}{hint}")
    weights = len(WEIGHTS.get(limits.router, ()))
    if limits.router_weights and len(limits.router_weights) != weights:
        raise ValueError(
            f"router {limits.router} has {weights} weights, got {len(limits.router_weights)}"
        )


def _check_speculation(limits: Limits, speculation: Speculation | None) -> None:
    """At least one draft, draws within it, and budget for a token of a row."""
    if speculation is None:
        return
    drafts = speculation.num_speculative_tokens
    if not drafts >= 1:
        raise ValueError(f"num_speculative_tokens must be at least 1, got {drafts!r}")
    for name in ("num_lookahead_tokens", "max_num_new_slots_for_drafting"):
        if not 0 <= getattr(speculation, name) <= drafts:
            raise ValueError(f"{name} must be 0 to {drafts}, got {getattr(speculation, name)!r}")
    if limits.async_scheduling:
        raise ValueError("speculation is modelled without async_scheduling")
    if not limits.max_num_batched_tokens > limits.draft_slots:
        raise ValueError(
            f"max_num_batched_tokens must be more than the {limits.draft_slots} that drafting "
            f"adds to a row, got {limits.max_num_batched_tokens}"
        )
    if not len(speculation.accepted):
        raise ValueError("speculation has no draws of accepted drafts")
    _check_column("accepted", speculation.accepted, len(speculation.accepted))
    _check_range("accepted", speculation.accepted, 0, drafts)


def check_arrivals(arrivals: Arrivals, limits: Limits, replicas: int) -> None:
    """Columns of one length, times in order, tokens positive, router choices that exist."""
    requests = len(arrivals.arrival_ps)
    for name in ("arrival_ps", "prompt_tokens", "output_tokens"):
        _check_column(name, getattr(arrivals, name), requests)
    for name in ("prompt_tokens", "output_tokens"):
        _check_range(name, getattr(arrivals, name), 1, MOST_TOKENS)
    if limits.concurrency == 0:
        _check_range("arrival_ps", arrivals.arrival_ps, 0, LAST_PS)
        early = np.flatnonzero(np.diff(arrivals.arrival_ps) < 0)
        if len(early):
            raise ValueError(f"arrival_ps: request {early[0] + 1} arrives before the one before it")
    if limits.router in DRAWN:
        _check_column("router_choice", arrivals.router_choice, requests)
        _check_range("router_choice", arrivals.router_choice, 0, replicas - 1)
    if limits.prefix_caching:
        _check_keys(arrivals, limits.block_size)
    if len(arrivals.carried_tokens):
        _check_carried(arrivals)
    if len(arrivals.first_draw):
        _check_column("first_draw", arrivals.first_draw, requests)
        _check_range("first_draw", arrivals.first_draw, 0, MOST_TOKENS)
    if len(arrivals.previous):
        _check_sessions(arrivals, limits)


def _check_sessions(arrivals: Arrivals, limits: Limits) -> None:
    """Every turn stands behind its previous one, in an open loop, with a delay of at least 0."""
    count, previous = len(arrivals.arrival_ps), arrivals.previous
    if limits.concurrency:
        raise ValueError(f"sessions need open arrivals, got concurrency {limits.concurrency}")
    _check_column("previous", previous, count)
    _check_column("delay_ps", arrivals.delay_ps, count)
    _check_range("delay_ps", arrivals.delay_ps, 0, LAST_PS)
    wrong = np.flatnonzero((previous < NEVER) | (previous >= np.arange(count)))
    if len(wrong):
        row = wrong[0]
        raise ValueError(f"previous[{row}] is {previous[row]}, allowed is {NEVER} to {row - 1}")


def _check_carried(arrivals: Arrivals) -> None:
    """At least the last token of every prompt is computed."""
    carried = arrivals.carried_tokens
    _check_column("carried_tokens", carried, len(arrivals.arrival_ps))
    wrong = np.flatnonzero((carried < 0) | (carried >= arrivals.prompt_tokens))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"carried_tokens[{row}] is {carried[row]}, allowed is 0 to "
            f"{arrivals.prompt_tokens[row] - 1}: the last token of a prompt is always computed"
        )


def _check_keys(arrivals: Arrivals, block_size: int) -> None:
    """Offsets in order from 0 to the end of the keys, no more keys than full blocks."""
    offsets, keys = arrivals.key_offsets, arrivals.keys
    _check_column("key_offsets", offsets, len(arrivals.arrival_ps) + 1)
    _check_column("keys", keys, len(keys))
    counts = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != len(keys) or (counts < 0).any():
        raise ValueError(f"key_offsets must rise from 0 to the {len(keys)} keys")
    most = (arrivals.prompt_tokens + arrivals.output_tokens - 1) // block_size
    many = np.flatnonzero(counts > most)
    if len(many):
        row = many[0]
        raise ValueError(
            f"request {row} has {counts[row]} keys, but only "
            f"{most[row]} full blocks of {block_size} tokens"
        )
    _check_range("keys", keys, 0, arrivals.key_count - 1)


def check_prices(prices: PriceTables, limits: Limits) -> None:
    """Tables long enough for the limits, nothing negative, no step that leaves int64."""
    if limits.async_scheduling and prices.stages > 1:
        raise ValueError(f"async_scheduling needs one pipeline stage, got {prices.stages}")
    if prices.draft_stages and not limits.drafts:
        raise ValueError("prices have a class of drafting, and limits no speculation")
    classes, tokens = prices.linear_ps.shape[0], limits.max_num_batched_tokens
    longest_ps = 0.0
    for name in ("linear_ps", "collective_ps", "floor_ps", "send_ps", "head_ps"):
        table: Integers = getattr(prices, name)
        heads = limits.max_num_seqs * (1 + limits.drafts)
        needed = min(heads, tokens) if name == "head_ps" else tokens
        if table.ndim != 2 or table.shape[0] != classes or table.shape[1] <= needed:
            raise ValueError(
                f"{name} has shape {table.shape}, but ({classes}, {needed + 1}) is needed"
            )
        _check_range(name, table, 0, LAST_PS)
        slowest = table.max(axis=1)[prices.stage_class].astype(np.float64)
        longest_ps += float(slowest.sum(axis=1).max(initial=0.0))
    if longest_ps > LONGEST_STEP_PS:
        raise TooSlowError(
            f"a step of {tokens} tokens could last {longest_ps * 1e-12:,.0f} s, at most "
            f"{LONGEST_STEP_PS * 1e-12:,.0f} s are simulated: the hardware is too slow, or "
            "max_num_batched_tokens too large"
        )
    if prices.attention.ndim != 2 or len(prices.attention) != classes:
        raise ValueError(f"attention has shape {prices.attention.shape}, not ({classes}, products)")
    kinds = len(prices.kinds)
    if not 1 <= kinds <= KINDS:
        raise ValueError(f"there are {kinds} kinds of layers, at most {KINDS} are modelled")
    if prices.far_block_ps.shape != (classes, kinds):
        raise ValueError(
            f"far_block_ps has shape {prices.far_block_ps.shape}, not {(classes, kinds)}"
        )
    if prices.stage_class.ndim != 2 or 0 in prices.stage_class.shape:
        raise ValueError(
            f"stage_class has shape {prices.stage_class.shape}, not (replicas, stages)"
        )
    _check_range("stage_class", prices.stage_class, 0, classes - 1)
    _check_column("return_ps", prices.return_ps, prices.replicas)
    _check_range("return_ps", prices.return_ps, 0, LONGEST_STEP_PS)


def _check_column(name: str, column: Integers, length: int) -> None:
    if column.ndim != 1 or len(column) != length or column.dtype.kind != "i":
        raise ValueError(
            f"{name} must be {length} integers, got {column.dtype} of shape {column.shape}"
        )


def _check_range(name: str, column: Integers, least: int, most: int) -> None:
    """Every entry within least..most."""
    wrong = (column < least) | (column > most)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name}{list(place)} is {column[place]}, allowed is {least} to {most}")
