import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workloads.requests import TraceError
from workloads.servegen import generate_servegen

FACTS: dict[str, list[object]] = {
    "model": ["m", "m", "m"],
    "client": [0, 0, 1],
    "t_start_s": [0, 600, 600],
    "rate_rps": [1.0, 1.0, 2.0],
    "family": ["Gamma", "Gamma", "Weibull"],
    "param0": [1.0, 1.0, 0.5],
    "param1": [1.0, 1.0, 0.25],
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Client 0 asks 10 tokens for 1; client 1, silent at first, asks 20 for 2."""
    rates, lengths = tmp_path / "rates.parquet", tmp_path / "lengths.tar.xz"
    pq.write_table(pa.table(FACTS), rates)
    with tarfile.open(lengths, "w:xz") as archive:
        for client in (0, 1):
            window = {
                "input_tokens": f"{{{10 * (client + 1)}: 1.0}}",
                "output_tokens": f"{{{client + 1}: 1.0}}",
            }
            content = json.dumps({"0": window}).encode()
            info = tarfile.TarInfo(f"data/chunk-{client}-dataset.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return rates, lengths


def test_clients_keep_their_shares_windows_and_lengths_at_any_total(
    files: tuple[Path, Path],
) -> None:
    made = generate_servegen(*files, "m", 20.0, 1200.0, 0)
    late = made.arrival_ps >= 600 * 10**12

    # 600 x 1 + 600 x (1 + 2) = 2,400 at rate 2 on average: 20/s is ten times that, 24,000 in all
    assert len(made) == pytest.approx(24_000, rel=0.03)
    assert np.count_nonzero(~late) == pytest.approx(6_000, rel=0.06)
    assert set(made.prompt_tokens[~late].tolist()) == {10}
    assert np.count_nonzero(made.output_tokens == 2) == pytest.approx(12_000, rel=0.05)
    assert set(made.prompt_tokens[made.output_tokens == 2].tolist()) == {20}


def test_the_same_seed_gives_the_same_traffic_and_time_beyond_it_repeats(
    files: tuple[Path, Path],
) -> None:
    first, again = (generate_servegen(*files, "m", 1.0, 2400.0, 3) for _ in range(2))

    assert first.digest == again.digest
    assert first.arrival_ps[-1] > 1200 * 10**12


def test_an_unknown_model_gets_the_known_ones(files: tuple[Path, Path]) -> None:
    with pytest.raises(TraceError, match="no 'n'; it has m"):
        generate_servegen(*files, "n", 1.0, 600.0, 0)


def test_rows_without_a_model_are_of_none(files: tuple[Path, Path]) -> None:
    rates, _ = files
    rows = len(FACTS["model"])
    pq.write_table(pa.table(FACTS | {"model": [None, *["m"] * (rows - 1)]}), rates)

    with pytest.raises(TraceError, match=r"no 'n'; it has m$"):
        generate_servegen(*files, "n", 1.0, 600.0, 0)


def test_files_of_another_kind_are_refused(files: tuple[Path, Path]) -> None:
    rates, lengths = files
    with pytest.raises(TraceError, match="not a table of ServeGen's client rates"):
        generate_servegen(lengths, lengths, "m", 1.0, 600.0, 0)
    with pytest.raises(TraceError, match="not an archive of ServeGen's lengths"):
        generate_servegen(rates, rates, "m", 1.0, 600.0, 0)


@pytest.mark.parametrize(
    ("column", "value"),
    [("rate_rps", None), ("rate_rps", float("nan")), ("param0", -1.0), ("family", "Cauchy")],
)
def test_a_row_that_makes_no_sense_is_named(
    column: str, value: object, files: tuple[Path, Path]
) -> None:
    rates, lengths = files
    pq.write_table(pa.table({**FACTS, column: [value] * 3}), rates)

    with pytest.raises(TraceError, match=rf"row 0 of m: column '{column}': found {value!r}"):
        generate_servegen(rates, lengths, "m", 1.0, 600.0, 0)
