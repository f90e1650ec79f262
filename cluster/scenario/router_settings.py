"""The ``router`` key: a name, or a name with its weights."""

from typing import Annotated, TypeAlias, cast

from pydantic import Discriminator, Tag, model_validator

from cluster.scenario.base import NotNegative, Part
from cluster.scenario.routers import WEIGHTS, Router
from cluster.scenario.workload import exactly_one, form_of


class KvOverlap(Part):
    """Dynamo's ``overlap_score_weight``: blocks to prefill against blocks in use."""

    overlap_weight: NotNegative = WEIGHTS["kv_overlap"][0]


class WeightedScorers(Part):
    """Weights of llm-d's prefix-cache, queue and kv-cache-utilization scorers, in that order."""

    prefix: NotNegative = WEIGHTS["weighted_scorers"][0]
    queue: NotNegative = WEIGHTS["weighted_scorers"][1]
    kv_utilization: NotNegative = WEIGHTS["weighted_scorers"][2]

    @model_validator(mode="after")
    def _weighty(self) -> "WeightedScorers":
        if not any(self.model_dump().values()):
            raise ValueError("one of prefix, queue and kv_utilization must be above 0")
        return self


class RouterSettings(Part):
    """A router with weights; exactly one of the keys."""

    kv_overlap: KvOverlap | None = None
    weighted_scorers: WeightedScorers | None = None

    @model_validator(mode="after")
    def _one(self) -> "RouterSettings":
        return exactly_one(self)


AnyRouter: TypeAlias = Annotated[
    Annotated[Router, Tag("by-name")] | Annotated[RouterSettings, Tag("by-keys")],
    Discriminator(form_of),
]


def router_name(router: Router | RouterSettings) -> Router:
    """The router's name."""
    if isinstance(router, str):
        return router
    return cast("Router", next(iter(router.model_dump(exclude_none=True))))


def router_weights(router: Router | RouterSettings) -> tuple[float, ...]:
    """Its weights, in the order of WEIGHTS; empty for a router without."""
    if isinstance(router, str):
        return WEIGHTS.get(router, ())
    (weights,) = router.model_dump(exclude_none=True).values()
    return tuple(weights.values())


def router_content(router: Router | RouterSettings) -> object:
    """What the identity of a run has of it: weights that are left out are those of the default."""
    weights = router_weights(router)
    return [router_name(router), *weights] if weights else router
