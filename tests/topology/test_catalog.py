import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from corsair_common.names import CONFIDENCES
from topology import catalog
from topology.catalog import KINDS, Hardware, figure_names, list_hardware, load_hardware
from topology.types import TopologyError

UNIT_OF_SUFFIX = {
    "_m2_per_byte_per_s": "m2/(B/s)", "_m2_per_byte": "m2/B", "_per_m2": "1/m2",
    "_usd_per_byte": "USD/B",
    "_flop_per_s": "flop/s",
    "_bytes_per_s": "B/s", "_bytes_per_clock": "B/clk", "_bytes": "B", "_hz": "Hz", "_w": "W",
    "_m2": "m2", "_j_per_bit": "J/bit", "_usd_per_j": "USD/J", "_usd": "USD", "_clocks": "clk",
    "_fraction": "fraction", "efficiency": "fraction", "_j": "J", "_s": "s",
}  # fmt: skip


@pytest.fixture(scope="module")
def corsair() -> Hardware:
    return load_hardware("corsair")


def card_flop_per_s(hardware: Hardware, format: str) -> float:
    macs_per_clock = (
        hardware["dimc.rows"]
        * hardware[f"dimc.columns_{format}"]
        / hardware[f"dimc.clocks_per_vector_{format}"]
    )
    return 2 * cores_per_card(hardware) * macs_per_clock * hardware["card.clock_hz"]


def cores_per_card(hardware: Hardware) -> float:
    return chiplets_per_card(hardware) * hardware["chiplet.dimc_cores"]


def chiplets_per_card(hardware: Hardware) -> float:
    return hardware["card.packages"] * hardware["package.chiplets"]


@pytest.mark.parametrize(
    ("format", "flop_per_s"), [("int8", 2.4e15), ("int4", 9.6e15), ("int16", 0.6e15)]
)
def test_a_card_reaches_its_published_peak(
    corsair: Hardware, format: str, flop_per_s: float
) -> None:
    assert card_flop_per_s(corsair, format) == pytest.approx(flop_per_s, rel=1e-12)


def test_sram_streams_150_tb_per_s_on_a_card_and_9_6_pb_per_s_on_a_rack(corsair: Hardware) -> None:
    card = (
        cores_per_card(corsair) * corsair["dimc.stream_bytes_per_clock"] * corsair["card.clock_hz"]
    )
    rack = card * corsair["server.cards"] * corsair["rack.servers"]

    assert card == pytest.approx(150e12, rel=1e-12)
    assert rack == pytest.approx(9.6e15, rel=1e-12)


def test_memory_adds_up_from_card_to_rack(corsair: Hardware) -> None:
    chiplets = chiplets_per_card(corsair)
    cards = corsair.count("server.cards") * corsair.count("rack.servers")

    assert cards == 64
    assert chiplets * corsair["chiplet.sram_bytes"] == 2.048e9
    assert chiplets * corsair["chiplet.lpddr_bytes"] == 256e9
    assert chiplets * corsair["chiplet.lpddr_bandwidth_bytes_per_s"] == 400e9
    assert cards * 400e9 == 25.6e12
    assert cards * cores_per_card(corsair) == 131_072


@pytest.mark.parametrize("name", list_hardware())
def test_every_bundled_figure_has_the_unit_of_its_name_and_a_known_source(name: str) -> None:
    hardware = load_hardware(name)

    for figure in hardware.figures.values():
        suffixes = [unit for suffix, unit in UNIT_OF_SUFFIX.items() if figure.name.endswith(suffix)]
        if suffixes:
            assert figure.unit == suffixes[0], figure.name
        else:
            assert figure.unit in ("count", "clk", "ratio"), figure.name
        if figure.confidence in ("published", "secondary"):
            assert any(key in figure.source for key in hardware.sources), figure.name


@pytest.mark.parametrize("name", list_hardware())
def test_bundled_hardware_gives_the_same_figures_in_si_and_can_be_pickled(name: str) -> None:
    hardware = load_hardware(name)

    assert figure_names(hardware.kind).needed <= set(hardware.figures)
    assert set(hardware.figures) <= set(figure_names(hardware.kind).known)
    assert {figure.confidence for figure in hardware.figures.values()} <= set(CONFIDENCES)
    assert pickle.loads(pickle.dumps(hardware)) == hardware


def test_a_number_of_a_datasheet_becomes_the_nearest_float_in_si(corsair: Hardware) -> None:
    assert corsair["package.d2d_latency_s"] == 115e-9
    assert corsair["server.nic_bandwidth_bytes_per_s"] == 50e9
    assert corsair["energy.mac_int8_j"] == 0.053e-12
    assert corsair.figures["package.d2d_latency_s"].in_datasheet_unit() == (115, 115, 115)


def test_an_unknown_figure_is_answered_with_the_nearest(corsair: Hardware) -> None:
    with pytest.raises(
        TopologyError, match=r"no figure 'card\.clock'; did you mean 'card\.clock_hz'"
    ):
        corsair["card.clock"]


def test_an_unknown_name_is_answered_with_the_bundled_ones() -> None:
    with pytest.raises(TopologyError, match=r"no hardware 'corsiar'; did you mean 'corsair'"):
        load_hardware("corsiar")


def test_an_override_moves_the_figure_and_widens_its_range() -> None:
    figure = load_hardware("corsair", {"card.clock_hz": 1.5e9}).figures["card.clock_hz"]

    assert (figure.value, figure.low, figure.high) == (1.5e9, 0.8e9, 1.5e9)
    assert (figure.source, figure.confidence) == ("hardware_set", "assumed")


def test_every_wrong_override_is_named_at_once() -> None:
    with pytest.raises(TopologyError) as caught:
        load_hardware(
            "corsair",
            {"card.clok_hz": 1.0, "card.tdp_w": float("nan"), "server.nics": 2.5,
             "links.efficiency": 1.2, "card.clock_hz": True},
        )  # fmt: skip

    assert str(caught.value).splitlines() == [
        "hardware_set: corsair has no figure 'card.clok_hz'; did you mean 'card.clock_hz'?",
        "hardware_set: card.tdp_w must be finite, found nan",
        "hardware_set: server.nics must be a whole number, found 2.5",
        "hardware_set: links.efficiency must be at most 1, found 1.2",
        "hardware_set: card.clock_hz must be a number in Hz, found True",
    ]


def test_figures_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(TopologyError, match=r"rack\.network_latency_s .* must cover"):
        load_hardware("corsair", {"rack.network_latency_s": 1e-6})


USERS = """\
name: mine
base: corsair
figures:
  card:
    tdp_w: {value: 0.45, unit: kW, source: my lab, confidence: published, low: 0.4, high: 0.5}
  card.clock_hz: {value: 1, unit: GHz, source: my lab, confidence: published, low: 1, high: 1}
"""


def test_a_users_file_may_change_a_few_figures_of_a_base(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(USERS)
    mine = load_hardware(tmp_path / "mine.yaml")

    assert (mine.name, mine["card.tdp_w"], mine["card.clock_hz"]) == ("mine", 450.0, 1e9)
    assert mine["server.nics"] == 4


def test_a_base_may_be_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(USERS)
    (tmp_path / "yours.yaml").write_text("base: mine.yaml\n")

    assert load_hardware(tmp_path / "yours.yaml")["card.tdp_w"] == 450.0


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("name: b\nbase: a.yaml\n")

    with pytest.raises(TopologyError, match=r"b\.yaml:2: base 'a\.yaml' leads back"):
        load_hardware(tmp_path / "a.yaml")


WRONG = """\
name: wrong
base: corsair
colour: red
figures:
  card:
    tdp_w: {value: 600, unit: V, source: x, confidence: published, low: 600, high: 600}
    clok_hz: {value: 1, unit: GHz, source: x, confidence: published, low: 1, high: 1}
    clock_hz: {value: 1, unit: ns, source: x, confidence: published, low: 1, high: 1}
    static_w: {value: 60, unit: W, source: x, confidence: guessed, low: 40}
    dispatch_s: {value: 1, unit: us, source: x, confidence: assumed, low: 2, high: 3}
    packages: {value: 2, unit: count, source: x, confidence: assumed, low: .nan, high: 2}
  server:
    nics: {value: -4, unit: count, source: x, confidence: assumed, low: -4, high: 4}
    host_w: {value: much, unit: W, source: '', confidence: assumed, low: 1, high: 2, colour: red}
    switch_w: 50
    nic_w: {value: 9, unit: W, source: x, confidence: assumed, low: 9, high: 9, range: choise}
"""


def test_every_breach_of_a_file_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG)
    with pytest.raises(TopologyError) as caught:
        load_hardware(tmp_path / "wrong.yaml")

    said = [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]
    expected = [
        "wrong.yaml:3: unknown key 'colour'",
        "wrong.yaml:6: card.tdp_w: unknown unit 'V'",
        "wrong.yaml:7: card.clok_hz: unknown figure 'card.clok_hz'; did you mean 'card.clock_hz'?",
        "wrong.yaml:8: card.clock_hz: unit 'ns' measures s, this figure is in Hz (as 'GHz')",
        "wrong.yaml:9: card.static_w: misses high",
        "wrong.yaml:9: card.static_w: unknown confidence 'guessed'",
        "wrong.yaml:10: card.dispatch_s: low 2e-06 is above the value 1e-06 (in s)",
        "wrong.yaml:11: card.packages: low must be finite, found nan",
        "wrong.yaml:13: server.nics: value must be above 0, found -4",
        "wrong.yaml:13: server.nics: low must be above 0, found -4",
        "wrong.yaml:14: server.host_w: unknown field 'colour'",
        "wrong.yaml:14: server.host_w: value must be a number, found 'much'",
        "wrong.yaml:14: server.host_w: source must name the origin of the number",
        "wrong.yaml:15: server.switch_w: expected {value, unit, source",
        "wrong.yaml:16: server.nic_w: unknown range 'choise'; did you mean 'choice'?",
    ]
    assert len(said) == len(expected)
    for line, start in zip(said, expected, strict=True):
        assert re.match(re.escape(start), line), line


def test_a_file_without_a_base_must_give_every_figure(tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text(USERS.replace("base: corsair\n", ""))

    with pytest.raises(TopologyError, match=r"bare\.yaml:2: misses dimc\.rows, .*or name a base"):
        load_hardware(tmp_path / "bare.yaml")


def test_raptor_streams_what_its_paper_measured() -> None:
    raptor = load_hardware("raptor")
    cores = cores_per_card(raptor)

    assert cores * raptor["dimc.stream_bytes_per_clock"] * raptor["card.clock_hz"] == pytest.approx(
        104.8576e12, rel=1e-12
    )
    assert card_flop_per_s(raptor, "int4") == pytest.approx(10e15, rel=0.01)
    assert chiplets_per_card(raptor) * raptor["chiplet.sram_bytes"] == 32e9
    assert 4096 / raptor["dimc.stream_bytes_per_clock"] == 96


GPU_BASE = "kind: gpu\nbase: b200\nfigures:\n"


def figure_line(name: str, unit: str, value: float = 1) -> str:
    fields = f"value: {value}, unit: {unit}, low: {value}, high: {value}"
    return f"  {name}: {{{fields}, source: my lab, confidence: assumed}}\n"


def test_a_file_without_a_kind_is_a_dimc_card() -> None:
    assert {load_hardware(name).kind for name in ("corsair", "raptor")} == {"dimc_card"}
    assert load_hardware("h200").kind == "gpu"
    assert KINDS == ("dimc_card", "gpu")


def test_a_gpu_may_lack_formats_and_a_scale_up_network_but_no_memory() -> None:
    names = figure_names("gpu")

    assert {"gpu.bf16_flop_per_s", "gpu.memory_bytes", "engine.step_s"} <= names.needed
    optional = set(names.known) - names.needed - set(names.defaults)
    assert {name.partition(".")[0] for name in optional} == {"gpu", "nvswitch", "mesh"}
    assert {name.partition(".")[0] for name in names.defaults} == {"host", "parts"}
    assert "gpu.nvfp4_flop_per_s" not in load_hardware("h100").figures
    assert "nvswitch.gpus" not in load_hardware("rtx-pro-6000").figures


def test_gpus_have_the_figures_of_their_data_sheets_in_si() -> None:
    h100, b200 = load_hardware("h100"), load_hardware("b200")

    assert h100["gpu.bf16_flop_per_s"] == 989e12
    assert h100["gpu.memory_bytes"] == 80 * 2**30
    assert h100["nvswitch.bandwidth_bytes_per_s"] == 450e9
    assert b200["gpu.nvfp4_flop_per_s"] == 2 * b200["gpu.fp8_flop_per_s"] == 9e15
    assert load_hardware("mi300x")["mesh.link_bandwidth_bytes_per_s"] == 64e9
    assert load_hardware("gaudi2")["mesh.link_bandwidth_bytes_per_s"] == 3 * 12.5e9


def test_all_gpus_share_the_figures_of_one_engine() -> None:
    engines = {
        tuple(figure for name, figure in load_hardware(gpu).figures.items() if "engine." in name)
        for gpu in list_hardware()
        if load_hardware(gpu).kind == "gpu"
    }

    assert len(engines) == 1


def test_a_figure_of_another_kind_is_foreign(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(GPU_BASE + figure_line("dimc.rows", "count"))

    with pytest.raises(TopologyError) as caught:
        load_hardware(path)

    assert str(caught.value).startswith(f"{path}:4: dimc.rows: unknown figure 'dimc.rows'")
    assert str(caught.value).endswith("(kind gpu has none, dimc_card does)")


def test_part_of_an_optional_section_asks_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "switched.yaml"
    path.write_text("base: rtx-pro-6000\nfigures:\n" + figure_line("nvswitch.gpus", "count", 8))

    with pytest.raises(
        TopologyError, match=r"misses nvswitch\.bandwidth_bytes_per_s, nvswitch\.latency_s"
    ):
        load_hardware(path)


def test_null_takes_a_figure_of_the_base_away_where_the_kind_can_lack_it(tmp_path: Path) -> None:
    (tmp_path / "no8.yaml").write_text("base: h100\nfigures:\n  gpu.fp8_flop_per_s: null\n")
    (tmp_path / "no16.yaml").write_text("base: h100\nfigures:\n  gpu: {bf16_flop_per_s: null}\n")

    assert "gpu.fp8_flop_per_s" not in load_hardware(tmp_path / "no8.yaml").figures
    with pytest.raises(TopologyError, match=r"no16\.yaml:2: misses gpu\.bf16_flop_per_s \("):
        load_hardware(tmp_path / "no16.yaml")


def test_of_several_bases_a_later_one_wins(tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text(
        "kind: gpu\nfigures:\n" + figure_line("engine.step_s", "ms", 7)
    )
    (tmp_path / "mine.yaml").write_text("base: [h100, engine.yaml]\n")
    mine = load_hardware(tmp_path / "mine.yaml")

    assert mine["engine.step_s"] == 7e-3
    assert mine["gpu.bf16_flop_per_s"] == 989e12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: gpuu\nbase: h100\n", ":1: unknown kind 'gpuu'; did you mean 'gpu'?"),
        ("kind: gpu\nbase: corsair\n", ":2: kind gpu on base corsair, which is of kind dimc_card"),
        ("base: [h100, corsair]\n", ":1: kind gpu on base corsair"),
        ("base: [h100, 3]\n", ":1: base must be a name or a list of names, found 3"),
        ("kind: gpu\nfigures: {}\n", ":2: misses gpu.gemm_bandwidth_efficiency, "),
        ("kind: gpu\nbase: mine.yaml\n", ":2: base 'mine.yaml' leads back to this file"),
    ],
)
def test_wrong_kinds_and_bases_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(TopologyError, match=re.escape(f"{path}{expected}")):
        load_hardware(path)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"nvswitch.gpus": 5}, "nvswitch.gpus (5) must divide server.cards (8), or be a multiple"),
        ({"rack.network_latency_s": 1e-6}, "rack.network_latency_s (1e-06 s) must cover"),
    ],
)
def test_gpu_figures_that_contradict_each_other_are_refused(
    overrides: dict[str, float], expected: str
) -> None:
    with pytest.raises(TopologyError, match=re.escape(expected)):
        load_hardware("h100", overrides)


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the bundled files that a test may change."""
    folder = tmp_path / "catalog"
    shutil.copytree(catalog._FOLDER, folder)
    caches = (catalog.figure_names, catalog._bundled, catalog._part)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(catalog, "_FOLDER", folder)
    yield folder
    for cached in caches:
        cached.cache_clear()


def add_default(path: Path, line: str) -> None:
    """Put a figure under ``defaults:``, whether the file has any or none."""
    before, _, after = path.read_text().partition("\ndefaults:\n")
    path.write_text(f"{before}\ndefaults:\n{line}{after}")


def test_a_full_file_of_a_user_stays_valid_when_a_figure_with_a_default_is_added(
    catalogue: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(catalogue / "corsair.yaml", mine)
    add_default(catalogue / "corsair.yaml", figure_line("card.reset_s", "us", 3))
    own = tmp_path / "own.yaml"
    own.write_text("base: mine.yaml\nfigures:\n" + figure_line("card.reset_s", "us", 4))

    assert load_hardware("corsair")["card.reset_s"] == 3e-6
    assert load_hardware(mine)["card.reset_s"] == load_hardware("raptor")["card.reset_s"] == 3e-6
    assert load_hardware(mine).figures["card.reset_s"].source == "my lab"
    assert load_hardware(own)["card.reset_s"] == 4e-6
    assert load_hardware(mine, {"card.reset_s": 5e-6})["card.reset_s"] == 5e-6


def test_a_default_of_one_kind_is_foreign_to_another(catalogue: Path, tmp_path: Path) -> None:
    add_default(catalogue / "a100.yaml", figure_line("gpu.reset_s", "us", 3))
    (tmp_path / "mine.yaml").write_text(
        "base: corsair\ndefaults:\n" + figure_line("gpu.reset_s", "s")
    )

    assert load_hardware("h100")["gpu.reset_s"] == 3e-6
    assert "gpu.reset_s" not in load_hardware("corsair").figures
    with pytest.raises(TopologyError, match=r"kind dimc_card has none, gpu does"):
        load_hardware(tmp_path / "mine.yaml")


def test_fitted_points_are_those_of_a_file_and_of_its_bases(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: b200\nfitted:\n  - {device: mine, isl: 64}\nfigures: {}\n")
    points = load_hardware(mine).fitted

    assert points[-1] == {"device": "mine", "isl": 64}
    assert points[:-1] == load_hardware("b200").fitted
    assert {point["device"] for point in points} == {"h100", "rtx-pro-6000", "b200", "mine"}
    mine.write_text("base: b200\nfitted:\n  - {isl: 64}\n")
    with pytest.raises(TopologyError, match=r"mine.yaml:2: fitted must list measured points"):
        load_hardware(mine)


def test_a_size_that_is_bought_or_a_fitted_figure_is_not_uncertain(corsair: Hardware) -> None:
    figures = corsair.figures

    assert figures["rack.servers"].low < figures["rack.servers"].high
    assert not figures["rack.servers"].uncertain
    assert not figures["card.dispatch_s"].uncertain
    assert not figures["dimc.rows"].uncertain  # no range
    assert figures["simd.lanes"].uncertain


def test_a_choice_of_the_base_stays_one_and_a_fit_does_not(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "base: corsair\nfigures:\n"
        "  rack.servers: {value: 7, unit: count, source: x, confidence: assumed, low: 6, high: 8}\n"
        "  card.dispatch_s: {value: 1, unit: us, source: x, confidence: assumed, low: 1, high: 2}\n"
    )
    figures = load_hardware(tmp_path / "mine.yaml").figures

    assert figures["rack.servers"].range == "choice"
    assert figures["card.dispatch_s"].uncertain
