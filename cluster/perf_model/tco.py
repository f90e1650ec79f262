"""Total cost of ownership of a cluster, with the range that uncertain figures leave.

Prices are not public (every ``cost`` figure of the catalogue names its source), so every amount
has a low and a high: those of all figures together, each at the end of its range that makes the
cluster cheapest or most expensive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.perf_model.energy.facility import switches_of
from corsair_common.band import Band

SECONDS_PER_HOUR = 3600.0
MILLION = 1e6


class Ranged(Protocol):
    """A figure of the catalogue: SI value with its range."""

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Purchased hardware."""

    cards: int
    servers: int
    nics: int
    network_switches: int
    """Leaves and spines."""


def inventory_of(
    figures: Mapping[str, Ranged], *, racks: int, servers_per_rack: int, cards_per_server: int
) -> Inventory:
    """Inventory of a cluster of that size."""
    return inventory_with(
        figures, servers=racks * servers_per_rack, racks=racks, cards_per_server=cards_per_server
    )


def inventories_of(
    kinds: Sequence[tuple[Mapping[str, Ranged], int]], *, racks: int, cards_per_server: int
) -> list[Inventory]:
    """Inventories of kinds of hardware, each with so many servers; the first has the switches."""
    servers = sum(count for _, count in kinds)
    switches = inventory_with(
        kinds[0][0], servers=servers, racks=racks, cards_per_server=cards_per_server
    ).network_switches
    return [
        Inventory(
            cards=count * cards_per_server,
            servers=count,
            nics=count * int(figures["server.nics"].value),
            network_switches=0 if kind else switches,
        )
        for kind, (figures, count) in enumerate(kinds)
    ]


def inventory_with(
    figures: Mapping[str, Ranged], *, servers: int, racks: int, cards_per_server: int
) -> Inventory:
    """Inventory of ``servers`` on ``racks``, which need not be full."""
    return Inventory(
        cards=servers * cards_per_server,
        servers=servers,
        nics=servers * int(figures["server.nics"].value),
        network_switches=sum(switches_of(servers, racks, figures["pod.spines"].value)),
    )


def capital_usd(figures: Mapping[str, Ranged], bought: Inventory) -> Band:
    """Price of the hardware in USD, without facility and staff."""
    return (
        _band(figures["cost.card_usd"]) * bought.cards
        + _band(figures["cost.host_usd"]) * bought.servers
        + _band(figures["cost.nic_usd"]) * bought.nics
        + _band(figures["cost.network_switch_usd"]) * bought.network_switches
    )


def usd_per_hour(figures: Mapping[str, Ranged], bought: Inventory, power_w: float) -> Band:
    """USD an hour: depreciation of the hardware over its years, and its electricity.

    ``power_w`` is the mean power of the racks; ``cost.pue`` adds the building's share. A longer
    life is cheaper, so the low amount has the long one.
    """
    price = capital_usd(figures, bought)
    life = _band(figures["cost.depreciation_s"])
    energy, pue = _band(figures["cost.electricity_usd_per_j"]), _band(figures["cost.pue"])
    per_s = Band(
        value=price.value / life.value + power_w * energy.value * pue.value,
        low=price.low / life.high + power_w * energy.low * pue.low,
        high=price.high / life.low + power_w * energy.high * pue.high,
    )
    return per_s * SECONDS_PER_HOUR


def usd_per_million(per_hour: Band, tokens_per_s: float) -> Band | None:
    """USD for a million tokens at that rate; None at rate 0."""
    if not tokens_per_s > 0:
        return None
    return per_hour * (MILLION / (tokens_per_s * SECONDS_PER_HOUR))


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What is bought of one kind of hardware."""

    figures: Mapping[str, Ranged]
    bought: Inventory
    power_w: float | None
    """Mean power of its part of the racks."""


def cost_summary(
    purchases: Sequence[Purchase],
    *,
    tokens_per_s: float | None,
    input_tokens_per_s: float | None = None,
    requests_per_s: float | None = None,
) -> dict[str, float | None]:
    """Keys of a summary: cost of the cluster, of an hour, of a million tokens and of a request.

    The cluster is the sum of its ``purchases``, each with prices and power of its own.

    Each amount is that of the whole cluster, whatever else it does. Each has its ``_low`` and
    ``_high``; None where power or rate is unknown.
    """
    hours = [
        None if each.power_w is None else usd_per_hour(each.figures, each.bought, each.power_w)
        for each in purchases
    ]
    known = [each for each in hours if each is not None]
    per_hour = sum(known[1:], known[0]) if len(known) == len(hours) else None
    prices = [capital_usd(each.figures, each.bought) for each in purchases]

    def at(rate: float | None) -> Band | None:
        return None if per_hour is None or rate is None else usd_per_million(per_hour, rate)

    million = at(requests_per_s)
    named = {
        "capital_usd": sum(prices[1:], prices[0]),
        "cost_per_hour_usd": per_hour,
        "cost_per_million_output_tokens_usd": at(tokens_per_s),
        "cost_per_million_input_tokens_usd": at(input_tokens_per_s),
        "cost_per_request_usd": None if million is None else million * (1 / MILLION),
    }
    return {
        f"{name}{end}": None if band is None else getattr(band, field)
        for name, band in named.items()
        for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))
    }


def _band(figure: Ranged) -> Band:
    return Band(value=figure.value, low=figure.low, high=figure.high)
