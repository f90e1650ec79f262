"""What is left of a cluster with parts down, and what of the traffic it can carry."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.scenario.resolve import Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """Replicas and cards that are left; rates by the estimator, without a simulation."""

    down: tuple[str, ...]
    """As the scenario names it."""
    replicas: int
    lost: tuple[str, ...]
    """Each lost replica, and why."""
    cards: int
    """Cards that are up, and with a path to their PCIe switch."""
    cards_placed: int
    """Of the cluster without faults."""
    drainable: tuple[str, ...]
    """Servers with cards that are up, none of which has a rank: they can be taken out."""
    load: float | None
    """Offered load over the capacity of what is left; the fullest pool's. None without a rate."""
    rate_scale: float
    """Of the scenario's traffic."""
    slo_met: bool | None = None
    """Whether the 99th percentiles of the run meet the SLO; None without a run or an SLO."""

    @property
    def keeps(self) -> float | None:
        """Part of the traffic that fits the capacity."""
        return None if self.load is None else min(1.0, 1.0 / self.load)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "keeps": self.keeps}

    def lines(self) -> Iterator[str]:
        """The same in words."""
        of = self.replicas + len(self.lost)
        yield (
            f"Down: {', '.join(self.down)}. Left: {self.replicas} of {of} replicas, "
            f"{self.cards} of {self.cards_placed} cards"
        )
        yield from (f"  lost: {each}" for each in self.lost)
        if self.drainable:
            yield f"  no rank is left on {', '.join(self.drainable)}: free to drain"
        if self.slo_met is not None:
            yield f"  the 99th percentiles {'meet' if self.slo_met else 'miss'} the SLO"
        if self.keeps is not None and self.keeps < 1:
            scale = self.keeps * self.rate_scale
            yield (
                f"  what is left carries {100 * self.keeps:.0f} % of the offered load: shed "
                f"{100 * (1 - self.keeps):.0f} % (workload.rate_scale {scale:.3g})"
            )
        if self.slo_met is False:
            yield "  corsair-sim plan --max-rate finds the rate at which the SLO holds"


def remaining(resolved: Resolved, summary: Mapping[str, Any] | None = None) -> Remaining | None:
    """What is left for a run, with its ``summary`` if it has been simulated; None if nothing is
    down."""
    scenario = resolved.scenario
    if not scenario.down:
        return None
    from cluster.serving.run import lay_out, map_of
    from cluster.studies.plan.estimate import estimate

    parts = resolved.pools or (resolved,)
    named = [(f"{part.role} replica" if part.role else "replica", part) for part in parts]
    used, loads = set[str](), list[float]()
    for part in parts:
        layout = lay_out(part)
        used |= set(layout.routes.card_id[layout.cards.ravel()].tolist())
        estimated = estimate(part, layout)
        loads += [estimated.load] if estimated.load is not None else []
    up = layout.routes.card_id.tolist()
    ranks = {_server(name) for name in used}
    _, healthy = map_of(scenario.healthy, resolved.racks)
    return Remaining(
        down=scenario.down,
        replicas=sum(part.plan.replicas for part in parts),
        lost=tuple(
            f"{name} {each.replica}: {each.reason}" for name, part in named for each in part.lost
        ),
        cards=len(up),
        cards_placed=len(healthy.card_id),
        drainable=tuple(dict.fromkeys(_server(name) for name in up if _server(name) not in ranks)),
        load=max(loads, default=None),
        rate_scale=scenario.workload.rate_scale,
        slo_met=_slo_met(resolved, summary),
    )


def _server(card: str) -> str:
    """``r0.s1`` of ``r0.s1.c2``."""
    return card.rpartition(".")[0]


def _slo_met(resolved: Resolved, summary: Mapping[str, Any] | None) -> bool | None:
    slo = resolved.scenario.slo
    if summary is None or not any(slo.model_dump().values()):
        return None
    from cluster.studies.plan.objective import Objective

    return Objective(slo=slo).met(summary)
