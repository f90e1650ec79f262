"""``corsair-sim topology``: show, draw and export the topology."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from topology.catalog import Hardware
    from topology.tiers import Distance, Tier
    from topology.types import Graph

app = typer.Typer(help="Show, draw and export the topology.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="Hardware, or a YAML file: of hardware, a topology or a scenario.")
]
Racks = Annotated[int | None, typer.Option("--racks", help="Number of racks.")]
Servers = Annotated[int | None, typer.Option("--servers", help="Servers in a rack.")]
Cards = Annotated[int | None, typer.Option("--cards", help="Cards in a server.")]
Level = Annotated[str, typer.Option("--level", help="chiplet, card, pair, server, rack or pod.")]


@app.command()
def show(
    name: Name = "corsair",
    racks: Racks = None,
    servers: Servers = None,
    cards: Cards = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Print the tiers of links with count, bandwidth and latency, and distances between cards."""
    from topology.inventory import count_nodes, count_words, first_cards
    from topology.route import compile_routes
    from topology.tiers import distances, tiers_of

    sizes = {"racks": racks, "servers_per_rack": servers, "cards_per_server": cards}
    graph, hardware = _map(name, "rack" if racks in (None, 1) else "pod", sizes)
    counts = {str(kind): count for kind, count in count_nodes(graph).items()}
    tiers, routes = tiers_of(graph, hardware), compile_routes(graph)
    paths = [way for card in first_cards(graph) for way in distances(routes, card)]
    payload = {
        "name": graph.name,
        "nodes": counts,
        "tiers": [asdict(tier) for tier in tiers],
        "between_cards": [asdict(way) for way in paths],
    }
    text = f"{graph.name}: {count_words(graph)}\n\n{_tier_table(tiers)}\n\n{_distance_table(paths)}"
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


@app.command()
def draw(  # noqa: PLR0913 - each is an option
    name: Name = "corsair",
    out: Annotated[Path | None, typer.Option("--out", help="An .svg or .png file.")] = None,
    level: Level = "server",
    racks: Racks = None,
    servers: Servers = None,
    cards: Cards = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Draw the topology at one level into an SVG or PNG file."""
    from topology.draw import draw_map

    sizes = {"racks": racks, "servers_per_rack": servers, "cards_per_server": cards}
    graph, _ = _map(name, level, sizes)
    path = out or Path(f"{graph.name}-{graph.graph['level']}.svg")
    draw_map(graph, path)
    terminal.show({"path": str(path)}, f"drew {path}", as_json=as_json, quiet=quiet)


@app.command()
def export(  # noqa: PLR0913 - each is an option
    out: Annotated[Path, typer.Option("--out", help="A .graphml, .json or .yaml file.")],
    name: Name = "corsair",
    level: Level = "rack",
    racks: Racks = None,
    servers: Servers = None,
    cards: Cards = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write the topology as GraphML, node-link JSON, or YAML that these commands read."""
    from topology.export import export_map

    sizes = {"racks": racks, "servers_per_rack": servers, "cards_per_server": cards}
    graph, _ = _map(name, level if racks in (None, 1) else "pod", sizes)
    export_map(graph, out)
    counts = {"nodes": graph.number_of_nodes(), "edges": graph.number_of_edges()}
    text = f"wrote {out}: {counts['nodes']:,} nodes, {counts['edges']:,} directed links"
    terminal.show({"path": str(out), **counts}, text, as_json=as_json, quiet=quiet)


def _map(name: str, level: str, sizes: Mapping[str, int | None]) -> tuple[Graph, Hardware | None]:
    """The topology of a command: built from hardware, read from a file, or that of a scenario."""
    from topology.build import build_level
    from topology.catalog import load_hardware
    from topology.strict_yaml import read_document
    from topology.topology_yaml import is_map, read_topology
    from topology.types import TopologyError

    document = read_document(name) if Path(name).suffix in (".yaml", ".yml") else None
    scenario = document is not None and "workload" in document.mapping()
    if document is None or not (scenario or is_map(document)):
        hardware = load_hardware(name)
        return build_level(hardware, level, sizes), hardware
    if inputs := [key for key, size in sizes.items() if size is not None]:
        what = "scenario, with a cluster" if scenario else "complete topology"
        raise TopologyError(f"{name} is a {what}: {', '.join(inputs)} cannot be set")
    return _map_of_scenario(name) if scenario else (read_topology(name), None)


def _map_of_scenario(name: str) -> tuple[Graph, Hardware | None]:
    """All racks of a scenario, as it says that links and parts are; of two kinds no hardware."""
    from cluster import load
    from cluster.scenario.hardware import hardware_of
    from cluster.scenario.pools import completed
    from cluster.serving.run import map_of
    from topology.catalog import load_hardware

    scenario, hardware, mixed = hardware_of(completed(load(name)), load_hardware)
    return map_of(scenario, mixed or hardware)[0], None if mixed else hardware


def _tier_table(tiers: list[Tier]) -> str:
    headers = ("tier", "joins", "links", "GB/s per direction", "leg, ns", "known: rate, latency")
    rows = [
        (
            tier.name,
            tier.joins,
            tier.links,
            _span(tier.bandwidth_bytes_per_s, 1e-9),
            _span(tier.latency_s, 1e9),
            ", ".join(filter(None, (tier.bandwidth_confidence, tier.latency_confidence))) or "-",
        )
        for tier in tiers
    ]
    return terminal.table(headers, rows)


def _distance_table(paths: list[Distance]) -> str:
    headers = ("two cards", "for example", "links", "latency, ns", "narrowest, GB/s")
    rows = [
        (
            way.relation,
            way.example,
            way.links,
            f"{way.latency_s * 1e9:,.6g}",
            f"{way.bandwidth_bytes_per_s * 1e-9:,.6g}",
        )
        for way in paths
    ]
    return terminal.table(headers, rows)


def _span(ends: tuple[float, float], scale: float) -> str:
    low, high = (f"{end * scale:,.6g}" for end in ends)
    return low if low == high else f"{low} to {high}"
