"""The hardware of a scenario and of its pools, and the formats that ``auto`` takes of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from cluster.scenario.cost import priced_hardware
from cluster.scenario.load import ScenarioError
from cluster.scenario.pools import pool_scenario
from cluster.scenario.power import clocked_hardware
from cluster.scenario.run_content import content_text
from cluster.scenario.schema import AUTO, PLAIN_WIRE, Pools, Scenario
from topology.catalog import Hardware
from topology.mixed import MixedHardware
from workloads.formats import get_format

OpenHardware: TypeAlias = Callable[[str, Mapping[str, float], str], Hardware]


def hardware_of(
    scenario: Scenario, open_hardware: OpenHardware
) -> tuple[Scenario, Hardware, MixedHardware | None]:
    """The scenario with its formats, and its hardware; of pools that differ in theirs, both."""
    if scenario.pools is None:
        hardware = own_hardware(scenario, open_hardware)
        return with_formats(scenario, hardware), hardware, None
    found, pools = list[Hardware](), {}
    for name, pool in scenario.pools:
        own = pool_scenario(scenario, pool)
        try:
            found.append(own_hardware(own, open_hardware))
        except ValueError as error:
            if not hasattr(error, "exit_code"):
                raise
            raise type(error)(f"pools.{name}: {error}") from error
        formats = with_formats(own, found[-1]).formats
        pools[name] = pool.model_copy(update={"formats": formats})
    first, second = found
    if first.name == second.name and content_text(first) == content_text(second):
        mixed = None
    else:
        mixed = _mixed(scenario, (first, second))
    update = {"pools": Pools(**pools), "formats": pools["prefill"].formats}
    return scenario.model_copy(update=update), first, mixed


def own_hardware(scenario: Scenario, open_hardware: OpenHardware) -> Hardware:
    """The hardware at its clock, and with its price."""
    hardware = clocked_hardware(scenario, open_hardware)
    return priced_hardware(scenario.cost, scenario.hardware_set, hardware)


def auto_activations(hardware: Hardware, weights: str) -> str:
    """The activations that ``auto`` stands for: of the format of the weights where the hardware
    file names it for both and can multiply it, else the first that the file names.

    So FP8 weights are multiplied in FP8 where the tensor cores can, and expanded to 16 bits where
    they cannot (vLLM's documentation, features/quantization, FP8: W8A8 on Ada, Hopper and
    Blackwell, W8A16 on Ampere); MXFP4 stays a format of weights alone, as gpt-oss is published.
    """
    named = hardware.formats["activations"]
    peak = f"gpu.{weights.partition('_')[0]}_flop_per_s"
    return weights if weights in named and peak in hardware.figures else named[0]


def with_formats(scenario: Scenario, hardware: Hardware | None) -> Scenario:
    """The same scenario, ``auto`` formats replaced by the first that the hardware file names."""
    named = {"wire": (PLAIN_WIRE,)} if hardware is None else hardware.formats
    found = {use: named[use][0] for use, name in scenario.formats if name == AUTO and use in named}
    if not found:
        return scenario
    if "activations" in found and hardware is not None:
        weights = get_format(found.get("weights", scenario.formats.weights)).name
        found["activations"] = auto_activations(hardware, weights)
    return scenario.model_copy(update={"formats": scenario.formats.model_copy(update=found)})


def _mixed(scenario: Scenario, hardware: tuple[Hardware, Hardware]) -> MixedHardware:
    """Servers for two pools of different hardware: the prefill pool's first, then the others.

    Raises
    ------
    ScenarioError
        The cluster has too few of them: a server has cards of one kind.
    """
    pools, size = scenario.pools, scenario.cluster
    if pools is None:
        raise ValueError("the scenario has no pools")
    each, first, second = size.cards_per_server, *hardware
    wanted = -(-pools.prefill.cards // each), -(-pools.decode.cards // each)
    servers = size.racks * size.servers_per_rack
    if sum(wanted) > servers:
        raise ScenarioError(
            f"pools.prefill on {first.name} takes {wanted[0]} servers of {each} cards and "
            f"pools.decode on {second.name} {wanted[1]}, the cluster has {servers} "
            f"(cluster.racks x cluster.servers_per_rack): {sum(wanted) - servers} too few, since a "
            "server has cards of one kind"
        )
    if first.name == second.name:  # one file with other figures: parts are told by names
        second = replace(second, name=f"{second.name} (decode)")
    return MixedHardware(first=first, second=second, first_servers=wanted[0])
