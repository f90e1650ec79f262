"""How runs, sweeps and plans show themselves."""

from pathlib import Path

from results.display import line, plan_figures, run_facts, run_figures, table

SUMMARY = {
    "run_id": "0123456789ab",
    "completed": 20,
    "rejected": 0,
    "duration": 3.03632,
    "mean_ttft_ms": 18.0013,
    "goodput": None,
    "std_ttft_ms": 1.0,
}


def test_a_line_names_what_is_known_and_the_brief_figures() -> None:
    facts = run_facts("chat", SUMMARY, None)

    assert line("Run", facts, run_figures(SUMMARY)) == (
        "Run(name='chat', run_id='0123456789ab', completed=20, mean_ttft_ms=18)"
    )


def test_a_line_stays_one_short_line_whatever_the_name() -> None:
    shown = line("Run", {"name": "first\nsecond" + 1000 * "x"})

    assert "\n" not in shown
    assert len(shown) == len("Run(name=)") + 200


def test_a_table_has_a_row_for_each_figure_with_its_unit_and_meaning() -> None:
    shown = table("Run", run_facts("chat", SUMMARY, Path("runs/a")), run_figures(SUMMARY))

    assert shown.count("<tr>") == 3 + 4  # name, run_id, run_dir; goodput is not known
    assert ">3.036</td>" in shown
    assert ">ms: Mean of the time to first token" in shown
    assert "runs/a" in shown
    assert "std_ttft_ms" not in shown


def test_a_table_escapes_what_users_have_named() -> None:
    shown = table("<b>", {"<i>": "<script>alert('x')</script>"}, {"<u>": "&"})

    assert "<script>" not in shown
    assert not any(tag in shown for tag in ("<b>", "<i>", "<u>"))
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in shown
    assert "&amp;" in shown


def test_a_replay_shows_its_own_figures() -> None:
    summary = {"run_id": "0123456789ab", "makespan_s": 5.41681e-4, "operations": 2352}

    assert run_figures(summary) == {"operations": 2352, "makespan_s": 5.41681e-4}
    assert line("ReplayRun", {}, run_figures(summary)) == (
        "ReplayRun(operations=2352, makespan_s=0.0005417)"
    )


def test_a_plan_without_a_candidate_has_no_figures() -> None:
    assert plan_figures({}) == {}
    assert line("Plans", {"scored": 7}, {}) == "Plans(scored=7)"
