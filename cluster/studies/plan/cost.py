"""Cost of a candidate, which pays for the whole servers of its cards."""

import math

import numpy as np

from cluster.perf_model.energy.facility import constant_watts
from cluster.perf_model.tco import (
    MILLION,
    SECONDS_PER_HOUR,
    Inventory,
    inventory_with,
    usd_per_hour,
)
from corsair_common.units import Floats, Integers
from topology.catalog import Hardware

NOTHING = Inventory(cards=0, servers=0, nics=0, network_switches=0)
ENDS = {"": "value", "_low": "low", "_high": "high"}


def power_of(hardware: Hardware, site: Integers, idle: Integers, cards_w: Floats) -> Floats:
    """[n] watts of busy cards, of ``idle`` ones in the same servers, and of the rest of these
    servers.

    ``site[n, 2]`` are servers and racks. Cooling of the building is excluded.
    """
    sites, which = _distinct(site)
    around = [math.fsum(constant_watts(hardware, *each).values()) for each in sites]
    drawn_w: Floats = cards_w + np.array(around, np.float64)[which]
    drawn_w += idle.astype(np.float64) * hardware["card.static_w"]
    return drawn_w


def cost_columns(
    hardware: Hardware,
    site: Integers,
    cards_per_server: int,
    power_w: Floats,
    tokens_per_s: Floats,
) -> dict[str, Floats]:
    """USD an hour and for a million output tokens, each with its low and its high.

    An hour is linear in power: a constant and a cost per watt.
    """
    sites, which = _distinct(site)
    figures, watt = hardware.figures, usd_per_hour(hardware.figures, NOTHING, 1.0)
    bought = [
        inventory_with(figures, servers=servers, racks=racks, cards_per_server=cards_per_server)
        for servers, racks in sites
    ]
    standing = [usd_per_hour(figures, each, 0.0) for each in bought]
    hours = {
        end: np.array([getattr(each, name) for each in standing], np.float64)[which]
        + getattr(watt, name) * power_w
        for end, name in ENDS.items()
    }
    a_million = MILLION / (tokens_per_s * SECONDS_PER_HOUR)
    return {
        **{f"cost_per_hour_usd{end}": hour for end, hour in hours.items()},
        **{
            f"cost_per_million_output_tokens_usd{end}": hour * a_million
            for end, hour in hours.items()
        },
    }


def _distinct(site: Integers) -> tuple[list[tuple[int, int]], Integers]:
    """The distinct sites, and the index of each row's site."""
    apart = int(site[:, 1].max(initial=0)) + 1
    sites, which = np.unique(site[:, 0] * apart + site[:, 1], return_inverse=True)
    return [divmod(int(each), apart) for each in sites], which.reshape(-1)
