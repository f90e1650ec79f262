import json
from dataclasses import replace

import pytest

from cluster.commands.app import main
from cluster.studies import validate as study

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def computed() -> tuple[study.Row, ...]:
    return study.validate()


@pytest.fixture(autouse=True)
def once(computed: tuple[study.Row, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate the figures once for all tests."""
    monkeypatch.setattr(study, "validate", lambda: computed)


def test_json_says_every_figure_with_its_verdict_and_where_it_comes_from(capsys: Captured) -> None:
    assert main(["validate", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in printed["rows"]}
    counts = [printed[verdict] for verdict in ("ok", "misses", "fitted", "outside")]
    assert sum(counts) == len(rows)
    assert counts[1] == sum(row["verdict"] == "miss" for row in printed["rows"])
    assert rows["8b.tpot"]["verdict"] == "fitted"
    assert rows["70b.tpot"]["tolerance"] == 0.15
    assert rows["70b.tpot"]["confidence"] == "published"
    assert rows["70b.tpot"]["deviation"] == rows["70b.tpot"]["simulated"] / 2.0 - 1
    assert rows["70b.users128.rate"]["verdict"] == "outside"
    assert printed["dispatch_s"] == pytest.approx(0.814e-6)


def test_people_get_tables_with_sources(capsys: Captured) -> None:
    assert main(["validate"]) == 0

    text = capsys.readouterr().out
    assert "Llama-3-70B on a rack" in text
    assert "fitted   the published figure set a figure of the catalogue: no evidence" in text
    assert "EET   EE Times" in text
    assert "0 missed, 3 fitted, 13 outside" in text


def test_both_points_are_fitted_and_predicted_under_each_setting_of_collectives(
    capsys: Captured,
) -> None:
    """Norms by token leave 8B more time for dispatch; sharded everywhere they are slower."""
    assert main(["validate", "--json"]) == 0

    found = {row["setting"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    modelled, sharded = found["as modelled"], found["norms: sharded"]
    assert modelled["fitted_tpot_s"] == pytest.approx(1e-3, rel=1e-6)
    assert modelled["predicted_tpot_s"] > found["norms: replicated"]["predicted_tpot_s"]
    assert modelled["off"] == modelled["predicted_tpot_s"] / 2e-3 - 1
    assert sharded["predicted_tpot_s"] > 1.2 * modelled["predicted_tpot_s"]


def test_a_miss_is_published_and_no_error(
    computed: tuple[study.Row, ...], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    spoiled = [replace(row, simulated=2.5) if row.name == "70b.tpot" else row for row in computed]
    monkeypatch.setattr(study, "validate", lambda: tuple(spoiled))

    assert main(["validate", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["misses"] == 1
    assert [row["name"] for row in printed["rows"] if row["verdict"] == "miss"] == ["70b.tpot"]

    assert main(["validate"]) == 0
    assert "+25.0 %  15 %    miss" in capsys.readouterr().out


def test_quiet_prints_nothing(capsys: Captured) -> None:
    assert main(["validate", "--quiet"]) == 0

    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
