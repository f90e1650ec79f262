import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.perf_model.calibrate import EIGHT_B, SEVENTY_B, predict
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.studies.published import Beside, Claim, load_published
from cluster.studies.validate import Row, compare, measure
from workloads.model import load_model

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    return measure(load_published())


@pytest.fixture(scope="module")
def rows(measured: dict[str, float]) -> dict[str, Row]:
    return {row.name: row for row in compare(load_published(), measured)}


def row_of(simulated: float, **said: Any) -> Row:
    """A published figure of 2, set beside ``simulated``."""
    beside = Beside(label="speed", **said)
    claim = Claim(
        section="A card",
        value=2.0,
        unit="ms",
        source="HC25",
        confidence="published",
        conditions="",
        rows={"speed": beside},
    )
    return Row(name="speed", claim=claim, beside=beside, simulated=simulated)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (row_of(2.25, tolerance=0.125), "ok"),
        (row_of(1.75, tolerance=0.125), "ok"),
        (row_of(2.26, tolerance=0.125), "miss"),
        (row_of(1.74, tolerance=0.125), "miss"),
        (row_of(float("nan"), tolerance=0.125), "miss"),
        (row_of(1.0, bound="at_most"), "ok"),
        (row_of(2.1, bound="at_most"), "miss"),
        (row_of(2.0, bound="at_least"), "ok"),
        (row_of(1.9, bound="at_least"), "miss"),
        (row_of(float("nan"), bound="at_most"), "miss"),
        (row_of(2.0), "outside"),
        (row_of(2.0, fitted=True), "fitted"),
    ],
)
def test_a_verdict_follows_from_the_deviation_and_what_was_fixed_before(
    row: Row, verdict: str
) -> None:
    assert row.verdict == verdict


def test_a_fitted_figure_cannot_claim_a_tolerance() -> None:
    with pytest.raises(ValidationError, match="no evidence"):
        Beside(label="speed", fitted=True, tolerance=0.1)


@pytest.mark.parametrize("other", [{"fitted": True}, {"tolerance": 0.1}])
def test_a_limit_is_neither_fitted_nor_has_a_tolerance(other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"no evidence|a limit has no tolerance"):
        Beside(label="speed", bound="at_most", **other)


def test_every_simulated_figure_has_exactly_one_claim(
    measured: dict[str, float],
) -> None:
    names = Counter(name for claim in load_published().claims for name in claim.rows)

    assert set(names) == set(measured)
    assert max(names.values()) == 1


def test_every_source_is_spelled_out() -> None:
    published = load_published()
    used = {name for claim in published.claims for name in claim.source.split(", ")}

    assert used == set(published.sources)


def test_only_what_set_a_figure_of_the_catalogue_is_called_fitted(rows: dict[str, Row]) -> None:
    fitted = {name for name, row in rows.items() if row.verdict == "fitted"}

    assert fitted == {"card.mxint8", "8b.tpot", "8b.rate"}


def test_the_prediction_is_judged_by_the_tolerance_that_was_set_for_it(
    rows: dict[str, Row],
) -> None:
    assert rows["70b.tpot"].claim.value == 2.0
    assert rows["70b.rate"].claim.value == 30_000
    assert rows["70b.tpot"].beside.tolerance == rows["70b.rate"].beside.tolerance == 0.15


def test_sizes_are_those_that_a_hand_can_count(measured: dict[str, float]) -> None:
    # Two vectors of 1,024 elements of 8.125 bits in each of 32 (80) layers.
    assert measured["8b.kv"] == 32 * 2 * 1024 * 8.125 / 8 / 1e3
    assert measured["70b.kv"] == 80 * 2 * 1024 * 8.125 / 8 / 1e3
    assert measured["server.sram"] == 64 * 0.256
    assert measured["rack.cores"] == 512 * 256
    # 64 x 600 W, 8 hosts of 1,500 W, 32 NICs of 150 W, 16 switches of 50 W, a leaf of 1,000 W.
    assert measured["fits.rack.power"] == 57.0
    # 32 GB of LPDDR a chiplet, of which a copy of 70B takes 71.7 GB / 8 = 9 GB.
    assert measured["fits.lpddr.models"] == 3


def test_longer_prompts_cost_users_speed(measured: dict[str, float]) -> None:
    assert measured["8b.tpot"] <= measured["8b.users32.tpot"]
    # 60 users of the rack fill 15 of its 16 slots, four each; dealt evenly over all they wait
    # for 16 steps a token.
    assert measured["70b.users32.tpot"] >= 15 / 16 * measured["70b.tpot"]
    for model in ("8b", "70b"):
        assert measured[f"{model}.users32.tpot"] < measured[f"{model}.users128.tpot"]
        assert measured[f"{model}.users32.rate"] > measured[f"{model}.users128.rate"]


def test_streaming_weights_is_never_faster_than_its_lpddr(measured: dict[str, float]) -> None:
    for cards, floor_ms in ((1, 179), (8, 22), (64, 2.8)):
        # The embedding is looked up and the head hides: 1.5 % of the bytes each.
        assert measured[f"lpddr.cards{cards}"] > 0.97 * floor_ms / 0.8


def test_the_page_shows_the_scoreboard_as_it_is_computed(rows: dict[str, Row]) -> None:
    expected = [
        f"| `{name}` | {row.beside.label} | {row.claim.value:,g} {row.claim.unit}"
        f" | {figures(row.simulated)} | {percent(row.deviation)} | {row.verdict} |"
        for name, row in rows.items()
    ]

    assert [line for line in page() if line.startswith("| `")] == expected


def test_the_page_shows_where_a_layers_time_goes() -> None:
    expected = []
    for name, point in (("8B", EIGHT_B), ("70B", SEVENTY_B)):
        layers, steady = len(load_model(point.model).layers), predict(point)
        each = [f"{part / layers / 1e6:.2f}" for part in steady.loop_by_bound_ps.tolist()]
        loop, slowest = steady.loop_ps / 1e9, steady.slowest_stage_ps / 1e9
        expected.append(f"| {name} | {' | '.join(each)} | {loop:.3f} | {slowest:.3f} |")
    table = [line for line in page() if line.startswith(("| 8B | ", "| 70B | "))]

    assert f"| point | {' | '.join(BOUNDS)} | slot loop, ms | slowest stage, ms |" in page()
    assert table == expected


def test_the_page_counts_the_matrix_as_it_is() -> None:
    matrix = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page("calibration-matrix.md")
        if re.match(r"\| \dx\d \|", line)
    ]
    fitted = [row for row in matrix if row[4] != "none"]
    near = [row for row in fitted if row[7].startswith("**")]

    assert (
        f"Of {len(matrix)} choices {len(matrix) - len(fitted)} cannot be fitted"
        f" at all; of the {len(fitted)} that can, {len(near)} land within 15 %"
    ) in " ".join(page())
    assert {row[0] for row in near} == {"4x2"}


def page(name: str = "validation.md") -> list[str]:
    return list(lines(DOCS / name))


def lines(path: Path) -> Iterator[str]:
    yield from path.read_text("utf-8").splitlines()


def figures(value: float) -> str:
    """Four significant figures, whole numbers from a thousand on."""
    return f"{value:#,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(part: float) -> str:
    return f"{round(100 * part, 1) + 0.0:+.1f} %"
