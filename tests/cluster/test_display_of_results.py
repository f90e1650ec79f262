"""What runs, sweeps and plans of this process, and those opened from disk, show of themselves."""

from collections.abc import Callable
from pathlib import Path

from corsair_sim import Choices, Run, load, open_run, plan, replay, sweep

NAME = "<b>two\nlines</b>"
ESCAPED = "&lt;b&gt;two\nlines&lt;/b&gt;"


def test_a_run_and_the_same_run_on_disk_show_name_and_run_id(
    run_small: Callable[..., Run], tmp_path: Path
) -> None:
    run = run_small(name=NAME)
    saved = open_run(run.save(tmp_path))
    shown = f"name={NAME!r}, run_id='{run.run_id}'"

    assert repr(run).startswith(f"Run({shown}, completed=200, mean_ttft_ms=")
    assert repr(saved) == f"SavedRun({shown}, path={str(saved.path)!r})"
    for html in (run._repr_html_(), saved._repr_html_()):
        assert ESCAPED in html
        assert "<b>" not in html
        assert ">200</td>" in html


def test_a_damaged_run_shows_what_is_wrong_in_place_of_its_figures(
    run_small: Callable[..., Run], tmp_path: Path
) -> None:
    saved = open_run(run_small().save(tmp_path))
    (saved.path / "summary.parquet").write_bytes(b"nonsense")

    assert repr(saved).startswith("SavedRun(")
    assert "cannot read the table" in saved._repr_html_()


def test_a_replay_shows_its_makespan() -> None:
    run = replay(
        {
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "workload": {"program": {"phase": "decode", "batch": 1, "context": 16, "steps": 1}},
        }
    )

    assert f"makespan_s={run.summary['makespan_s']:.4g}" in repr(run)
    assert "<caption>ReplayRun</caption>" in run._repr_html_()


def test_a_sweep_shows_its_points_by_status_and_is_not_held_to_them(tmp_path: Path) -> None:
    axes = [{"grid": {"workload.synthetic.requests": [5, 6, 7]}}]
    done = sweep({"name": "few", "axes": axes}, out=tmp_path / "few", limit=2)

    html = done._repr_html_()
    assert ">completed</th><td" in html
    assert ">pending</th><td" in html
    assert repr(done) == f"Sweep(name='few', path={str(tmp_path / 'few')!r}, points=3, axes=1)"

    sweep({"name": "few", "axes": axes}, out=tmp_path / "few")
    assert done.status_counts["completed"] == 3  # showing it has not fixed what it holds


def test_plans_show_the_best_candidate() -> None:
    found = plan(
        load(workload={"synthetic": {"requests": 20}}),
        choices=Choices(tensor_parallel_size=(4,), weights=("mxint8",), kv=("mxint8",)),
    )
    best = found.candidates[0]

    assert "tensor_parallel_size=4" in repr(found)
    assert f"tpot_ms={best['tpot_ms']:.4g}" in repr(found)
    assert f">{best['weights']}</td>" in found._repr_html_()
