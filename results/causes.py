"""Causes of a request's latency in words; a feature that adds one adds it here.

The columns of ``latency_breakdown`` are CAUSES, the bounds of the device but the network's where
tiers of links are known, and one for each tier of links. What a run cannot have is null.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from results.devices import GREY, ORANGE, PINK, RED, Device

HOST, SEND, NETWORK = "host", "send", "network"
ADMISSION, QUEUE_PROMPTS, QUEUE_DECODES = "admission", "queue_prompts", "queue_decodes"
RECOMPUTATION, OTHER_BATCHES, RETURN = "recomputation", "other_batches", "return"
HAND_OVER, DRAFTS = "hand_over", "drafts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What time of a request goes into."""

    name: str
    meaning: str
    """Of its column."""
    label: str
    """In a sentence: 61 % of it is ..."""
    colour: str


CAUSES = (
    Cause(
        name=ADMISSION,
        meaning="from joining the queue to the next start of a step of its replica",
        label="waiting for the next step to start",
        colour="#f0e442",
    ),
    Cause(
        name=QUEUE_PROMPTS,
        meaning="in the queue, behind steps that compute prompts of others",
        label="waiting behind others' prompts",
        colour=ORANGE,
    ),
    Cause(
        name=QUEUE_DECODES,
        meaning="in the queue, behind steps of decodes alone",
        label="waiting behind others' decodes",
        colour=RED,
    ),
    Cause(
        name=HAND_OVER,
        meaning="from the end of the prefill to the first step of the decode pool, its queue aside",
        label="the hand-over of KV between pools",
        colour="#882255",
    ),
    Cause(
        name=RECOMPUTATION,
        meaning="reading prompts in vain before a preemption, and again after one",
        label="computing again after preemptions",
        colour=PINK,
    ),
    Cause(
        name=OTHER_BATCHES,
        meaning="waiting for stages that other batches hold",
        label="waiting for other batches in the pipeline",
        colour="#44aa99",
    ),
    Cause(
        name=DRAFTS,
        meaning="waiting for drafts from cards of their own, and for the first stage after them",
        label="waiting for drafts from other cards",
        colour="#999933",
    ),
    Cause(
        name=RETURN,
        meaning="return of tokens from the last stage to the first",
        label="the return of tokens to the first stage",
        colour="#88ccee",
    ),
    Cause(
        name=HOST,
        meaning="host time of steps and of the request",
        label="host time",
        colour=GREY,
    ),
    Cause(
        name=SEND,
        meaning="sends from stage to stage",
        label="sends between stages",
        colour="#117733",
    ),
)

TIERS = (
    *("d2d", "package", "bridge", "pcie", "inter_switch", "host", "nic"),
    *("ethernet", "spine", "nvlink", "mesh"),
)
"""Kinds of links that can be a tier of a tensor group."""
_TIER_COLOURS = ("#332288", "#aa4499", "#6699cc", "#004488", "#bbcc33", "#661100")


def tier_cause(tier: str) -> str:
    """The cause that is a tier of links.

    Examples
    --------
    >>> tier_cause("d2d")
    'network_d2d'
    """
    return f"{NETWORK}_{tier}"


def causes_of(device: Device) -> Iterator[Cause]:
    """All causes of runs on a device."""
    yield from CAUSES
    known = {cause.name for cause in CAUSES}
    for bound in device.bounds:
        if bound.name not in known:
            yield Cause(
                name=bound.name,
                meaning=f"steps bound by {bound.meaning}",
                label=bound.label,
                colour=bound.colour,
            )
    for place, tier in enumerate(TIERS):
        yield Cause(
            name=tier_cause(tier),
            meaning=f"collectives over {tier} links",
            label=f"collectives over {tier} links",
            colour=_TIER_COLOURS[place % len(_TIER_COLOURS)],
        )


def bounds_of(causes: Iterable[str]) -> tuple[str, ...]:
    """Those of these causes that are bounds of a device."""
    other = {cause.name for cause in CAUSES} | {tier_cause(tier) for tier in TIERS}
    return tuple(name for name in causes if name not in other)


def labels(device: Device) -> dict[str, str]:
    """Of every cause, by name."""
    return {cause.name: cause.label for cause in causes_of(device)}


def said(shares: Mapping[str, float | None], device: Device, most: int = 3) -> str:
    """The largest shares in words: ``61 % waiting behind others' prompts, 20 % ...``.

    Examples
    --------
    >>> from results.devices import DIMC
    >>> said({"host": 0.25, "queue_prompts": 0.61, "return": 0.0}, DIMC)
    "61 % waiting behind others' prompts, 25 % host time"
    """
    words = labels(device)
    known = sorted(((share or 0.0, name) for name, share in shares.items()), reverse=True)
    return ", ".join(
        f"{100 * share:.0f} % {words.get(name, name)}"
        for share, name in known[:most]
        if share >= 0.005
    )
