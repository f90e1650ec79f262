"""Time to load a model: from LPDDR to SRAM, or from the hosts to the cards."""

from cluster.perf_model.devices import module_of
from cluster.perf_model.memory.fit import Fit
from cluster.perf_model.memory.stage import chiplets_of
from cluster.perf_model.protocols import Figures
from workloads.formats import Format
from workloads.model import Model, weight_bytes
from workloads.plan import Plan


def lpddr_load_s(fit: Fit, hardware: Figures) -> float:
    """Load the SRAM weights of all chiplets in parallel.

    Weights of the fullest chiplet are striped over the LPDDR of its card, as all weights are;
    vectors such as norms are there once and are copied to every chiplet.
    """
    return max(stage.sram_weight_bytes for stage in fit.stages) / lpddr_rate(hardware)


def host_load_s(fit: Fit, hardware: Figures, cards_per_server: int) -> float:
    """Every host sends all weights to its cards, through one x16 port of each PCIe switch."""
    fullest = max(
        sum(each.size_bytes for each in card if each.tensor_class not in ("kv", "kv_tail"))
        for stage in fit.holdings
        for card in stage
    )
    return fullest / host_rate(hardware, cards_per_server)


def host_rate(hardware: Figures, cards_per_server: int) -> float:
    """Bytes a second from the host to each card, if all cards of a PCIe switch load."""
    switches = int(hardware["server.pcie_switches"])
    per_switch = min(cards_per_server, -(-int(hardware["server.cards"]) // switches))
    return _pcie_rate(hardware) / per_switch


def nic_rate(hardware: Figures, cards_per_server: int) -> float:
    """Bytes a second from the network to each card, if all cards of a PCIe switch load.

    NICs are spread over the switches of a server; each is behind a port of its switch.
    """
    port = _pcie_rate(hardware)
    nic = min(port, hardware["server.nic_bandwidth_bytes_per_s"] * hardware["links.efficiency"])
    switches = int(hardware["server.pcie_switches"])
    per_switch = min(cards_per_server, -(-int(hardware["server.cards"]) // switches))
    return min(port, nic * hardware["server.nics"] / switches / per_switch)


def other_bytes(model: Model, weights: Format, plan: Plan) -> int:
    """Bytes on each card of another model in LPDDR, distributed evenly over a replica."""
    return -(-weight_bytes(model, weights) // plan.cards_per_replica)


def swap_s(card_bytes: int, hardware: Figures) -> tuple[float, float]:
    """Time to replace the model by one of ``card_bytes`` per card: from LPDDR, and from the hosts.

    Weights that do not fit in SRAM stay in LPDDR. The current contents are dropped, not saved.
    """
    chiplets = chiplets_of(hardware)
    usable = module_of(hardware).room(hardware).near_bytes
    from_lpddr = min(card_bytes / chiplets, usable) / lpddr_rate(hardware)
    per_switch = -(-int(hardware["server.cards"]) // int(hardware["server.pcie_switches"]))
    return from_lpddr, per_switch * card_bytes / _pcie_rate(hardware)


def lpddr_rate(hardware: Figures) -> float:
    """Bytes a second of one chiplet."""
    return module_of(hardware).room(hardware).far_bytes_per_s


def _pcie_rate(hardware: Figures) -> float:
    return hardware["card.pcie_bandwidth_bytes_per_s"] * hardware["links.efficiency"]
