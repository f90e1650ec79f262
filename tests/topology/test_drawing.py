import pytest

from topology.build import LEVELS, build_level, build_pod, build_rack, build_server, scale_links
from topology.catalog import load_hardware
from topology.drawing import Box, Line, Scene, make_scene
from topology.types import LinkKind

CORSAIR = load_hardware("corsair")


def boxes(scene: Scene) -> dict[str, Box]:
    return {box.name: box for box in scene.boxes if not box.outline}


def overlap(one: Box, other: Box) -> bool:
    return (
        abs(one.x - other.x) < (one.width + other.width) / 2
        and abs(one.y - other.y) < (one.height + other.height) / 2
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cards", [None, 3])
def test_no_two_boxes_overlap_at_any_level(level: str, cards: int | None) -> None:
    scene = make_scene(build_level(CORSAIR, level, {"cards_per_server": cards}))
    found = list(boxes(scene).values())

    assert not [
        (one.name, other.name)
        for index, one in enumerate(found)
        for other in found[:index]
        if overlap(one, other)
    ]


def test_a_holder_surrounds_all_that_it_holds() -> None:
    rack = build_rack(CORSAIR)
    scene = make_scene(rack)
    outlines = {box.name: box for box in scene.boxes if box.outline}
    for name, box in boxes(scene).items():
        holder = outlines[rack.nodes[name]["within"]]

        assert abs(box.x - holder.x) + box.width / 2 < holder.width / 2
        assert abs(box.y - holder.y) + box.height / 2 < holder.height / 2


def test_tiers_of_a_server_are_drawn_above_one_another() -> None:
    found = boxes(make_scene(build_server(CORSAIR)))

    assert found["s0.c0"].y < found["s0.sw0"].y < found["s0.nic0"].y
    assert found["s0.c0"].x < found["s0.c1"].x < found["s0.c2"].x


def upright(line: Line) -> bool:
    return line.x == line.x2


def test_links_between_tiers_run_straight() -> None:
    lines = make_scene(build_rack(CORSAIR)).lines
    tiers = (LinkKind.PCIE, LinkKind.NIC, LinkKind.ETHERNET)

    assert all(upright(line) for line in lines if line.kind in tiers)
    assert len([line for line in lines if line.kind == LinkKind.PCIE]) == 64


def test_a_pod_shows_each_rack_as_one_box_with_what_it_holds() -> None:
    scene = make_scene(build_pod(CORSAIR, racks=3))
    racks = [box for box in scene.boxes if box.label.startswith("r")]

    assert [box.label for box in racks] == ["r0", "r1", "r2"]
    assert racks[0].words == ("8 servers", "64 cards")
    assert len(scene.lines) == 3 * 4


def test_the_legend_gives_the_range_where_cables_differ() -> None:
    graph = scale_links(build_server(CORSAIR), "s0.c0>s0.sw0", 0.5)
    legend = dict(make_scene(graph).legend)

    assert legend[LinkKind.PCIE] == "card x16: 32 to 64 GB/s each way, 325 ns"
    assert legend[LinkKind.BRIDGE] == "DMX bridge: 256 GB/s each way, 400 ns"
