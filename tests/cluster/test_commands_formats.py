import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.commands.app import main

Captured = pytest.CaptureFixture[str]


def json_output(words: list[str], capsys: Captured) -> Any:
    assert main(["formats", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_table_has_bits_rates_and_errors(capsys: Captured) -> None:
    rows = {row["name"]: row for row in json_output([], capsys)["formats"]}

    assert rows["mxint8"]["bits_per_element"] == 8.125
    assert rows["mxint8"]["tflops_per_card"] == 2400
    assert rows["mxint4"]["rate_against_mxint8"] == 4
    assert rows["mxint4"]["tflops_per_card_8_bit_activations"] == 4800
    assert rows["mxint16"]["tflops_per_card"] == 600
    assert rows["sbfp12_16+4:8"]["bits_per_element"] == 3.25
    assert rows["sbfp12_16+4:8"]["multiplied_as"] == "bfp16_64"
    assert rows["fp8_e4m3"]["columns"] is None
    assert rows["mxfp4"]["bits_per_element"] == 4.25
    assert (rows["mxfp4"]["elements"], rows["mxfp4"]["block"]) == ("e2m1", 32)
    assert (rows["mxfp4"]["scale"], rows["nvfp4"]["scale"]) == ("e8m0", "e4m3")
    assert rows["mxfp4"]["measured_sqnr_db"] == pytest.approx(18.79, abs=0.05)
    assert rows["nvfp4"]["measured_sqnr_db"] == pytest.approx(20.43, abs=0.05)
    assert rows["mxint8"]["measured_sqnr_db"] == pytest.approx(41.02, abs=0.05)
    assert rows["fp32"]["measured_sqnr_db"] is None


def test_one_format_is_shown_by_any_name(capsys: Captured) -> None:
    assert json_output(["show", "FP8"], capsys)["name"] == "fp8_e4m3"
    assert json_output(["show", "mxint8_k128"], capsys)["bits_per_element"] == 8.0625


def test_people_read_a_table_and_what_its_columns_mean(tmp_path: Path, capsys: Captured) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 64)))
    assert main(["formats", "measure", str(tmp_path / "x.npy")]) == 0

    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("bfp16_64"))
    assert row.split()[:6] == ["bfp16_64", "8.125", "64", "e8m0", "bfp16_64", "int8"]
    assert row.split()[6:8] == ["1x", "2,400"]
    assert any(line.startswith("with 8-bit x") for line in lines)


def test_an_array_of_ones_own_is_measured_along_an_axis(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "x.npy"
    x = np.ones((64, 2), np.float32)
    x[:, 1] = 1e-4
    np.save(path, x)

    words = ["measure", str(path), "--format", "mxint8", "--axis"]
    across, along = (json_output([*words, axis], capsys)["formats"][0] for axis in ("1", "0"))
    assert across["name"] == "mxint8"
    assert across["largest_relative_error"] == 1
    assert along["largest_relative_error"] < 0.01


def test_blocks_are_compared_and_drawn(tmp_path: Path, capsys: Captured) -> None:
    picture = tmp_path / "blocks.svg"

    found = json_output(["blocks", "--numbers", "65536", "--draw", str(picture)], capsys)
    assert len(found["rows"]) == 10
    assert {row["scale"] for row in found["dot_products"]} == {"exponent", "up", "exact"}
    assert found["figure"] == str(picture)
    assert picture.read_text().startswith("<svg")


def test_the_ridge_is_printed(capsys: Captured) -> None:
    assert main(["formats", "ridge"]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["MXINT4", "mxint4", "mxint4", "16"] in [line[:4] for line in lines]
    assert ["16", "1.65"] in [line[:2] for line in lines]  # us; (64 + 14 x 16 x 8 + 32) clocks


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "mxint9"], "did you mean 'mxint8'"),
        (["measure", "none.npy"], "none.npy: cannot be read: No such file"),
        (["blocks", "--draw", "x.pdf"], "x.pdf: the ending must be one of"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["formats", *words]) == 2
    assert said in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_refused_with_their_place(
    tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([[1.0, np.nan]]))

    assert main(["formats", "measure", str(path)]) == 2
    assert "there is nan at index [0, 1]" in capsys.readouterr().err


def test_formats_of_a_gpu_are_those_of_its_tensor_cores(capsys: Captured) -> None:
    rows = {row["name"]: row for row in json_output(["--hardware", "b200"], capsys)["formats"]}

    assert rows["nvfp4"]["rate_against_bf16"] == 4
    assert rows["nvfp4"]["multiplied_as"] == "nvfp4"
    assert rows["fp8_e4m3"]["tflops_per_card"] == pytest.approx(4500)
    assert rows["bf16"]["tflops_per_card_8_bit_activations"] is None
    assert {row["columns"] for row in rows.values()} == {None}
    assert rows["mxint8"]["tflops_per_card"] is None
