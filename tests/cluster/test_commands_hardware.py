import json
from pathlib import Path

import pytest

from cluster.commands.app import main

Captured = pytest.CaptureFixture[str]


def test_the_list_names_the_kind_of_every_machine(capsys: Captured) -> None:
    assert main(["hardware", "list", "--json"]) == 0
    kinds = {one["name"]: one["kind"] for one in json.loads(capsys.readouterr().out)["hardware"]}

    assert kinds["corsair"] == kinds["raptor"] == "dimc_card"
    gpus = {name for name, kind in kinds.items() if kind == "gpu"}
    assert gpus == {
        "a100", "b200", "b300", "gaudi2", "gb200-nvl72", "h100", "h200", "mi300x", "rtx-pro-6000",
        "rubin-cpx",
    }  # fmt: skip


def test_two_gpus_differ_in_their_own_figures_only(capsys: Captured) -> None:
    assert main(["hardware", "diff", "h100", "h200", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]

    fitted = ("_efficiency", "_latency_s", "_latency_growth")  # of kernels: on rows of each
    names = [figure["name"] for figure in figures if not figure["name"].endswith(fitted)]
    assert set(names) == {
        "gpu.memory_bytes", "gpu.memory_bandwidth_bytes_per_s", "cost.card_usd",
        "parts.stacked_memory_usd_per_byte",
    }  # fmt: skip


def test_machines_of_two_kinds_show_what_only_one_of_them_has(capsys: Captured) -> None:
    assert main(["hardware", "diff", "corsair", "h100"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}

    assert lines["dimc.rows"] == ["dimc.rows", "64", "-", "count", "published", "-"]
    assert lines["nvswitch.gpus"] == ["nvswitch.gpus", "-", "8", "count", "-", "published"]
    assert lines["card.tdp_w"] == ["card.tdp_w", "600", "700", "W", "published", "published"]


def test_a_gpu_is_shown_with_the_sources_that_its_base_names(capsys: Captured) -> None:
    assert main(["hardware", "show", "h200", "--json", "--figure", "memory*"]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert shown["kind"] == "gpu"
    assert {"NVIDIA", "AIC"} <= set(shown["sources"])


def test_a_figure_of_another_kind_exits_with_2(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "base: h100\nfigures:\n  card.clock_hz: {value: 1, unit: GHz, source: x, "
        "confidence: assumed, low: 1, high: 1}\n"
    )

    assert main(["hardware", "show", str(path)]) == 2
    assert "unknown figure 'card.clock_hz'" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["graphml", "json", "yaml"])
def test_a_gpu_server_is_exported_and_drawn(tmp_path: Path, ending: str, capsys: Captured) -> None:
    out = tmp_path / f"map.{ending}"

    assert main(["topology", "export", "h100", "--level", "server", "--out", str(out)]) == 0
    assert "nvswitch" in out.read_text()
    assert main(["topology", "draw", "mi300x", "--out", str(tmp_path / "map.svg")]) == 0
    assert "GPU mesh" in (tmp_path / "map.svg").read_text()
    assert main(["topology", "draw", "h100", "--level", "pair"]) == 2
    assert "level must be one of card, server, rack, pod" in capsys.readouterr().err


def test_a_gpu_rack_is_shown_with_its_tiers(capsys: Captured) -> None:
    assert main(["topology", "show", "gb200-nvl72", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert (shown["nodes"]["card"], shown["nodes"]["nvswitch"]) == (72, 1)
    assert shown["tiers"][0]["name"] == "NVLink"
    assert shown["tiers"][0]["bandwidth_bytes_per_s"] == [900e9, 900e9]
    (between,) = shown["between_cards"]
    assert between["latency_s"] == 1e-6


def test_the_bill_of_parts_is_printed_with_ranges_and_the_area_of_the_die(capsys: Captured) -> None:
    assert main(["hardware", "cost", "corsair", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    usd = {line["name"]: line for line in shown["usd"]}
    assert usd["card"]["low"] < shown["list_usd"]["value"] < usd["card"]["high"]
    assert "143 a wafer" in usd["dies"]["what"]
    assert sum(part["value"] for part in shown["die_m2"]) == pytest.approx(400e-6)
    assert main(["hardware", "cost", "corsair", "--set", "chiplet.sram_bytes=512e6"]) == 0
    assert "515 mm2" in capsys.readouterr().out
    assert main(["hardware", "cost", "h100", "--json"]) == 0
    assert "die_m2" not in json.loads(capsys.readouterr().out)
    assert main(["hardware", "cost", "corsair", "--set", "chiplet.sram=1"]) == 2
    assert "did you mean 'chiplet.sram_bytes'" in capsys.readouterr().err


def test_what_if_machines_are_marked_in_the_list_and_where_they_are_shown(capsys: Captured) -> None:
    assert main(["hardware", "list", "--json"]) == 0
    listed = {
        one["name"]: one["what_if"] for one in json.loads(capsys.readouterr().out)["hardware"]
    }

    assert {name for name, why in listed.items() if why} == {
        "corsair-nvl72",
        "raptor",
        "raptor-nvl72",
        "rubin-cpx",
    }
    for command in ("show", "cost"):
        assert main(["hardware", command, "rubin-cpx"]) == 0
        assert "what-if: announced in 2025-09" in capsys.readouterr().out
        assert main(["hardware", command, "corsair"]) == 0
        assert "what-if" not in capsys.readouterr().out
