"""The kernel's records of transfers at the start of a run."""

import numpy as np

from cluster.disaggregated.kernel.state import (
    CONTROL,
    NONE,
    PAIR,
    PATH,
    PLACE,
    QUEUE,
    REQUEST,
    SENDING,
    Moves,
)
from cluster.disaggregated.transfer_plan import TransferPlan
from cluster.perf_model.tables import Records
from cluster.replay.interface import FIRST_BIN_PS
from cluster.replay.kernel import state as fabric

MARGIN = 1 << 12
"""Sendings of chunks that fit beside one of every request."""
PLACES = 16
"""Sendings whose messages are under way at one time; more when they are needed."""


def build_moves(plan: TransferPlan, arrivals: Records, replicas: tuple[int, int]) -> Moves:
    """Before the first event; ``arrivals`` are the requests as the decode pool has them."""
    shares, kv = plan.kv.shares, plan.kv
    pairs, count = len(shares.layers), len(plan.prompt_tokens)
    control = np.zeros(1, CONTROL)
    control["layerwise"], control["pairs"], control["targets"] = plan.layerwise, pairs, replicas[1]
    control["longest"] = int(np.diff(plan.paths.offsets).max(initial=1))
    control["layers"], control["base_ps"] = kv.layers, plan.base_ps
    queues = np.full(replicas[1], NONE).repeat(2).view(QUEUE)
    of_pairs = np.zeros(pairs, PAIR)
    of_pairs["first_layer"], of_pairs["layers"] = shares.first_layer, shares.layers
    of_pairs["tail_bytes"] = shares.tail_bytes
    kinds = int(plan.kind.max(initial=0)) + 1
    return Moves(
        control=control,
        requests=_requests(plan),
        sendings=np.zeros(count + MARGIN, SENDING),
        places=np.zeros(PLACES, PLACE),
        queues=queues,
        pairs=of_pairs,
        block_bytes=np.array(shares.block_bytes, np.int64, order="C"),
        windows=np.array(shares.windows, np.int64),
        paths=_paths(plan),
        links=np.array(plan.paths.links, np.int64),
        bytes_per_s=np.array(plan.resources.capacity_bytes_per_s, np.float64),
        alone_ps=np.full((replicas[0] * replicas[1], kinds), NONE),
        order=np.zeros(count, np.int64),
        arrivals=arrivals,
    )


def build_fabric(plan: TransferPlan, most_bins: int) -> fabric.State:
    """The links without messages; of the replay engine's program there is nothing."""
    control = np.zeros(1, fabric.CONTROL)
    control["contended"], control["bin_ps"] = 1, FIRST_BIN_PS
    resources = np.zeros(len(plan.resources.capacity_bytes_per_s), fabric.RESOURCE)
    resources["head"] = NONE
    none = np.zeros(0, np.int64)
    return with_places(
        fabric.State(
            control=control,
            rows=np.zeros(0, fabric.ROW),
            followers=np.zeros(0, fabric.FOLLOWER),
            varying_ps=np.zeros((0, 0), np.int64),
            start_ps=none,
            end_ps=none.copy(),
            seen=np.zeros(0, np.int32),
            ready=np.zeros(0, fabric.READY),
            matched_calls=np.zeros(0, fabric.MEETING),
            met=np.zeros(0, fabric.MET),
            members=none.copy(),
            legs=np.zeros(0, fabric.LEG),
            uses=np.zeros(0, fabric.USE),
            slots=np.zeros(0, fabric.SLOT),
            entries=np.zeros(0, fabric.ENTRY),
            resources=resources,
            dirty=np.zeros(len(resources), np.int64),
            part_slots=none.copy(),
            part_resources=np.zeros(len(resources), np.int64),
            loads=np.zeros((most_bins, len(resources)), np.int64),
        ),
        plan,
        PLACES,
    )


def with_places(state: fabric.State, plan: TransferPlan, places: int) -> fabric.State:
    """The same with slots for the messages of more sendings."""
    pairs = len(plan.kv.shares.layers)
    longest = int(np.diff(plan.paths.offsets).max(initial=1))
    slots = places * pairs

    def longer(records: Records, length: int) -> Records:
        found = np.zeros(length, records.dtype)
        found[: len(records)] = records
        return found

    more = longer(state.slots, slots)
    more["place"][len(state.slots) :] = NONE
    more["entry"] = np.arange(slots) * longest
    entries = longer(state.entries, slots * longest)
    entries["slot"] = np.repeat(np.arange(slots), longest)
    return state._replace(
        slots=more,
        legs=longer(state.legs, 3 * slots + 1),
        uses=longer(state.uses, 2 * slots * longest),
        entries=entries,
        part_slots=np.zeros(slots, np.int64),
    )


def _requests(plan: TransferPlan) -> Records:
    requests = np.zeros(len(plan.prompt_tokens), REQUEST)
    requests["tokens"], requests["kind"] = plan.prompt_tokens, plan.kind
    requests["drawn"] = plan.drawn
    requests["before_ps"], requests["after_ps"] = plan.before_ps, plan.after_ps
    for name in ("target", "ended_ps", "pulled_ps", "origin_ps", "received_ps"):
        requests[name] = NONE
    return requests


def _paths(plan: TransferPlan) -> Records:
    paths = np.zeros(len(plan.paths.latency_ps) + 1, PATH)
    paths["latency_ps"][:-1] = plan.paths.latency_ps
    paths["first"] = plan.paths.offsets
    paths["bytes_per_s"][:-1] = plan.resources.capacity_bytes_per_s[plan.paths.slowest]
    return paths
