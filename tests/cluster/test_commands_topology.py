import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.commands import hardware, topology
from topology.strict_yaml import DocumentError
from topology.topology_yaml import read_topology
from topology.types import TopologyError

ROOMS = {"hardware": hardware.app, "topology": topology.app}


def said(*words: str) -> str:
    room, *rest = words
    result = CliRunner().invoke(ROOMS[room], rest)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def json_output(*words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(said(*words, "--json"))
    return answer


def test_hardware_list_counts_figures_by_confidence() -> None:
    listed = {entry["name"]: entry for entry in json_output("hardware", "list")["hardware"]}

    assert set(listed) >= {"corsair", "raptor"}
    for entry in listed.values():
        known = sum(entry[word] for word in ("published", "secondary", "derived", "assumed"))
        assert entry["figures"] == known


def test_hardware_show_prints_a_figure_as_its_datasheet_has_it() -> None:
    text = said("hardware", "show", "--figure", "package.d2d_latency_s")
    row = next(line for line in text.splitlines() if line.startswith("package.d2d_latency_s"))

    assert row.split()[1:7] == ["115", "ns", "published", "115", "115", "source"]
    assert "Hot Chips 37" in text


def test_hardware_show_gives_si_and_the_datasheet_to_machines() -> None:
    (figure,) = json_output("hardware", "show", "corsair", "--figure", "card.clock_hz")["figures"]

    assert (figure["value"], figure["unit"]) == (1144409179.6875, "Hz")
    assert figure["datasheet"]["unit"] == "GHz"


@pytest.mark.parametrize(
    ("pattern", "first", "count"),
    [("pair", "pair.cards", 3), ("pair.*", "pair.cards", 3), ("tdp", "card.tdp_w", 1)],
)
def test_figures_are_chosen_by_section_pattern_or_part(
    pattern: str, first: str, count: int
) -> None:
    figures = json_output("hardware", "show", "--figure", pattern)["figures"]

    assert (figures[0]["name"], len(figures)) == (first, count)


def test_a_figure_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(TopologyError, match=r"did you mean 'card\.clock_hz'"):
        said("hardware", "show", "--figure", "card.clok_hz")


def test_hardware_diff_gives_both_values_in_one_unit() -> None:
    text = said("hardware", "diff", "corsair", "raptor")
    row = next(line for line in text.splitlines() if line.startswith("chiplet.sram_bytes"))

    assert row.split()[1:4] == ["256", "4000", "MB"]
    assert said("hardware", "diff", "corsair", "corsair") == "corsair and corsair are equal\n"


def test_topology_show_tells_tiers_and_distances() -> None:
    answer = json_output("topology", "show", "--racks", "2", "--servers", "2", "--cards", "4")

    assert answer["nodes"]["card"] == 16
    assert {tier["name"]: tier["links"] for tier in answer["tiers"]}["leaf to spine"] == 8
    assert [way["latency_s"] for way in answer["between_cards"]] == [400e-9, 650e-9, 2e-6, 3e-6]


def test_topology_show_is_a_table_for_people() -> None:
    text = said("topology", "show")

    assert text.startswith("corsair: 1 rack, 8 servers, 32 bridged pairs, 64 cards")
    assert "of one pair (bridge)" in text


def test_a_map_is_drawn_exported_and_read_back(tmp_path: Path) -> None:
    drawn = json_output("topology", "draw", "--level", "rack", "--out", str(tmp_path / "rack.svg"))
    json_output("topology", "export", "--out", str(tmp_path / "rack.yaml"), "--servers", "2")
    answer = json_output("topology", "show", str(tmp_path / "rack.yaml"))

    assert Path(drawn["path"]).read_text().startswith("<svg")
    assert answer["nodes"]["server"] == 2
    assert read_topology(tmp_path / "rack.yaml").number_of_edges() > 0


def test_a_whole_map_has_its_own_size(tmp_path: Path) -> None:
    json_output("topology", "export", "--out", str(tmp_path / "map.yaml"), "--level", "pair")

    with pytest.raises(TopologyError, match="is a complete topology: racks cannot be set"):
        said("topology", "show", str(tmp_path / "map.yaml"), "--racks", "2")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("topology", "show", "corsiar"), "did you mean 'corsair'"),
        (("topology", "draw", "--level", "galaxy"), "level must be one of chiplet, card"),
        (("topology", "draw", "--level", "server", "--racks", "2"), "the level for that is pod"),
        (("topology", "export", "--out", "map.txt"), "the ending must be one of"),
        (("topology", "show", "--cards", "9"), "cards_per_server must be 1 to 8"),
    ],
)
def test_a_wrong_word_is_one_clear_error_with_code_2(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(TopologyError, match=message) as caught:
        said(*words)

    assert caught.value.exit_code == 2


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"none\.yaml: no such file"):
        said("topology", "show", "none.yaml")


def test_quiet_says_nothing() -> None:
    assert said("topology", "show", "--quiet") == ""


def test_a_scenario_shows_the_servers_of_both_its_kinds(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "mixed-8b.yaml"
    shown = json_output("topology", "show", str(example))
    said("topology", "export", str(example), "--out", str(tmp_path / "racks.json"))
    exported = json.loads((tmp_path / "racks.json").read_text("utf-8"))["nodes"]
    hardware = {node["id"]: node["hardware"] for node in exported if node["kind"] == "card"}

    assert shown["name"] == "h200+corsair"
    assert (shown["nodes"]["nvswitch"], shown["nodes"]["bridge"]) == (1, 4)
    assert {way["example"] for way in shown["between_cards"]} >= {"s0.c0 - s1.c0", "s1.c0 - s1.c1"}
    assert (hardware["s0.c7"], hardware["s1.c0"]) == ("h200", "corsair")
    with pytest.raises(TopologyError, match="is a scenario, with a cluster: racks cannot be set"):
        said("topology", "show", str(example), "--racks", "2")
