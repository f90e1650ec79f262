import sys
from pathlib import Path

import pytest

from topology.build import LEVELS, build_level, build_server
from topology.catalog import load_hardware
from topology.draw import DrawingUnavailableError, draw_map
from topology.types import TopologyError

CORSAIR = load_hardware("corsair")


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_drawn_with_its_labels_and_legend(level: str, tmp_path: Path) -> None:
    draw_map(
        build_level(CORSAIR, level, {"racks": 2 if level == "pod" else None}), tmp_path / "map.svg"
    )
    picture = (tmp_path / "map.svg").read_text()

    assert picture.startswith("<svg")
    assert f"corsair: {level}" in picture
    assert "GB/s each way" in picture


def test_a_png_is_a_png(tmp_path: Path) -> None:
    draw_map(build_server(CORSAIR), tmp_path / "map.png")

    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"the ending must be one of \.svg, \.png"):
        draw_map(build_server(CORSAIR), tmp_path / "map.jpg")


def test_a_missing_package_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)

    with pytest.raises(DrawingUnavailableError, match="pip install altair vl-convert-python"):
        draw_map(build_server(CORSAIR), tmp_path / "map.svg")
    assert not list(tmp_path.iterdir())
