"""Verification of drafts: how many of a row's are right, and what it emits."""

from typing import Any

from cluster.compiled import inlined
from cluster.serving.histogram import bin_of
from cluster.serving.kernel.state import State


@inlined
def draw_accepted(state: State, request: Any, drafts: int) -> None:
    """Draw how many of a row's ``drafts`` are right; a row without any draws nothing."""
    request["drafts"], request["accepted"] = drafts, 0
    if drafts > 0:
        request["accepted"] = min(drafts, state.draws[request["draw"] % len(state.draws)])
        request["draw"] += 1


@inlined
def emit_verified(state: State, member: Any, end_ps: int) -> int:
    """Emit the tokens of a row, all at one time; their number.

    KV of its rejected drafts is overwritten by the next row; their blocks stay.
    """
    control, request = state.control[0], state.requests[member["request"]]
    drafts, accepted = request["drafts"], request["accepted"]
    request["drafts"] = request["accepted"] = 0
    if drafts > 0:
        control["draft_tokens"] += drafts
        state.accepted_count[accepted] += 1
    tokens: int = min(1 + accepted, member["goal"] - member["known"])
    if member["known"] > member["prompt"]:
        state.itl_count[bin_of(end_ps - member["emitted_ps"])] += 1
    member["emitted_ps"] = end_ps
    member["known"] += tokens
    member["computed"] = member["known"] - 1
    return tokens
