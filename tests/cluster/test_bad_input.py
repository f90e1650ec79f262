"""Bad input of each kind: one clear error, exit code 2 or 3, no traceback, nothing left behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.app import main

SERVE = ["serve", "--quiet", "--out", "runs", "--set", "workload.synthetic.requests=10"]
HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
TRACE = f"{HEAD}2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
PCIE = "kind: pcie, bandwidth: 64 GB/s, latency: 300 ns"
SLOW = "hardware_set.card.pcie_bandwidth_bytes_per_s=1.0e+6"
CLOCK = "hardware_set.card.clock_hz=1.0e+6"
FILES = {
    "good.csv": TRACE,
    "empty.csv": "",
    "no-rows.csv": HEAD,
    "column.csv": TRACE.replace("ContextTokens", "Context"),
    "negative.csv": TRACE.replace("374", "-374"),
    "nan.csv": TRACE.replace("374", "nan"),
    "fraction.csv": TRACE.replace("374", "37.4"),
    "huge.csv": TRACE.replace("374", "9" * 18),
    "cut.csv": TRACE[:-8],
    "cut.parquet": "PAR1....",
    "nan.jsonl": '{"timestamp": NaN, "input_length": 5, "output_length": 4, "hash_ids": []}\n',
    "list.yaml": "- 1\n",
    "torn.yaml": "model: [llama\n",
    "twice.yaml": "model: a\nmodel: b\n",
    "binary.yaml": "model: \0\n",
    "circle.yaml": "nodes:\n  p: {kind: package, within: c}\n  c: {kind: card, within: p}\n",
    "apart.yaml": "nodes:\n  w: {kind: pcie_switch}\n  c: {kind: card}\n  v: {kind: pcie_switch}\n"
    "  d: {kind: card}\nlinks:\n"
    f"  - {{from: c, to: w, {PCIE}}}\n  - {{from: d, to: v, {PCIE}}}\n",
    "loop.yaml": f"nodes:\n  c: {{kind: card}}\nlinks:\n  - {{from: c, to: c, {PCIE}}}\n",
    "far.yaml": "nodes:\n  w: {kind: pcie_switch}\n  c: {kind: card}\nlinks:\n"
    "  - {from: c, to: w, kind: pcie, bandwidth: 64 GB/s, latency: 9 year}\n",
    "hardware.yaml": "name: odd\nbase: corsair\nfigures:\n  card.clock_hz: {value: fast}\n",
}


@pytest.fixture(autouse=True)
def _among_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and message of a command that must fail cleanly."""
    before = sorted(Path.cwd().rglob("*"))
    code = main(argv)
    out, err = capsys.readouterr()

    assert out == ""
    assert err.startswith("corsair-sim: error: ")
    assert err.count("corsair-sim: error: ") == 1
    assert "Traceback" not in err
    assert "internal error" not in err
    assert sorted(Path.cwd().rglob("*")) == before
    return code, err.removeprefix("corsair-sim: error: ").strip()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "none.yaml"], "none.yaml: no such file"),
        (["check", "none.yaml"], "none.yaml: no such file"),
        (["serve", "."], ".: cannot be read"),
        (["serve", "list.yaml"], "list.yaml:1: expected keys with values, found a list"),
        (["serve", "torn.yaml"], "torn.yaml:2: not YAML"),
        (["serve", "binary.yaml"], "binary.yaml: not YAML"),
        (["serve", "twice.yaml"], "twice.yaml:2: 'model' is a duplicate key: first in line 1"),
        (["topology", "show", "circle.yaml"], "containment is a cycle, not a tree"),
        (["topology", "show", "apart.yaml"], "no link joins v, d to the rest of the topology"),
        (["topology", "show", "loop.yaml"], "loop.yaml:4: c is joined to itself"),
        (["topology", "show", "far.yaml"], "far.yaml:5: latency must be at most 1000 s"),
        (["topology", "show", "none.yaml"], "none.yaml: no such file"),
        (["hardware", "show", "hardware.yaml"], "hardware.yaml:4: card.clock_hz: misses unit"),
        (["hardware", "show", "corsairr"], "did you mean 'corsair'?"),
        (["models", "show", "llama-3.1-8"], "did you mean 'llama-3.1-8b'?"),
        (["trace", "describe", "none.csv"], "cannot read trace none.csv"),
        (["export", "none", "--out", "x.csv"], "no such run"),
        (["srve"], "Did you mean 'serve'?"),
        (["serve", "--sett", "seed=1"], "No such option: --sett"),
    ],
)
def test_a_wrong_file_or_name_is_named(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refused(argv, capsys)

    assert code == 2
    assert said in message


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ("none.csv", "none.csv: No such file or directory"),
        (".", "Is a directory"),
        ("empty.csv", "empty.csv: the file is empty"),
        ("no-rows.csv", "no-rows.csv: holds no requests"),
        ("column.csv", "the nearest is azure, which has 'TIMESTAMP', 'ContextTokens'"),
        ("negative.csv", "negative.csv:2: column 'ContextTokens': found '-374'; at least 1"),
        ("nan.csv", "nan.csv:2: column 'ContextTokens': found 'nan'; a whole number"),
        ("fraction.csv", "fraction.csv:2: column 'ContextTokens': found '37.4'; a whole number"),
        ("huge.csv", "huge.csv:2: column 'ContextTokens': found '999999999999999999'; at most"),
        ("cut.csv", "cut.csv:3: found 2 values, the header has 3"),
        ("cut.parquet", "cut.parquet: not a readable Parquet file"),
        ("nan.jsonl", "nan.jsonl:1: column 'timestamp': found nan"),
    ],
)
def test_a_wrong_trace_is_named_with_line_and_column(
    trace: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["serve", "--quiet", "--out", "runs"]
    code, message = refused([*plain, "--set", f"workload.trace={trace}"], capsys)

    assert code == 2
    assert said in message


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed", "--set seed: expected path.to.key=value"),
        ("=1", "--set =1: expected path.to.key=value"),
        ("a..b=1", "--set a..b=1: expected path.to.key=value"),
        ("seed=[1", "--set seed=[1:1: not YAML"),
        ("seed.x=1", "--set seed.x=1: seed is {'x': 1}; must be a whole number"),
        ("seed=-1", "seed is -1; must be at least 0"),
        ("seed=true", "seed is true; must be a whole number"),
        ("cluster=null", "cluster is null; must hold keys with values"),
        ("links.0.match=x", "must be a list"),
        ("zeal=1", "unknown key 'zeal'; allowed: cluster, collectives"),
        ("scheduler.max_num_sqes=1", "did you mean 'max_num_seqs'?"),
        ("model=llama-3.1-8", "did you mean 'llama-3.1-8b'?"),
        ("hardware=corsairr", "did you mean 'corsair'?"),
        ("hardware=apart.yaml", "apart.yaml: is a topology (nodes and links), not a file"),
        ("formats.weights=mxint7", "did you mean 'mxint8'?"),
        ("workload={trace: good.csv, format: azzure}", "is it 'azure'?"),
        ("workload.synthetic.preset=azure-conv-2024", "is it 'azure-conv-2023'?"),
        ("router=least_kw", "did you mean 'least_kv'?"),
        ("plan.tensor_parallel_size=3", "32 attention heads do not divide"),
        ("plan.pipeline_parallel_size=33", "is more than the 32 layers"),
        ("plan.expert_parallel_size=2", "the model has no experts"),
        ("plan.replicas=many", "plan.replicas is 'many'; must be a whole number or 'auto'"),
        ("cluster.racks=0", "cluster.racks is 0; must be at least 1"),
        ("cluster.racks=1000000", "at most 16,384 are simulated"),
        ("cluster.cards_per_server=9", "cards_per_server must be 1 to 8"),
        ("scheduler.block_size=0", "scheduler.block_size is 0; must be at least 1"),
        ("scheduler.block_size=48", "block_size is a multiple or a divisor of 64 tokens, got 48"),
        ("scheduler.max_num_seqs=0", "scheduler.max_num_seqs is 0; must be at least 1"),
        ("scheduler.max_num_seqs=1000000000000", "must be at most 131072"),
        ("scheduler.max_num_batched_tokens=10000000", "must be at most 131072"),
        ("workload.rate_scale=0", "workload.rate_scale is 0; must be at least 1e-09"),
        ("workload.rate_scale=-1", "workload.rate_scale is -1; must be at least 1e-09"),
        ("workload.rate_scale=.nan", "workload.rate_scale is nan; must be finite"),
        ("workload.rate_scale=fast", "workload.rate_scale is 'fast'; must be a number"),
        ("workload.limit=5", "cut a trace; synthetic traffic has a number of requests"),
        ("workload={}", "give exactly one of trace"),
        ("slo.ttft_s=1.0e+300", "slo.ttft_s is 1e+300; must be at most"),
        ("warmup_s=.inf", "warmup_s is inf; must be finite"),
        ('workload.trace="\\0"', "workload.trace holds a NUL character"),
        ("store.bins=1", "store.bins is 1; must be at least 2 or 'auto'"),
        ('links=[{match: "s0.sw7>*"}]', "links: no link matches 's0.sw7>*'"),
        ('links=[{match: "*", bandwidth_scale: -1}]', "links.0.bandwidth_scale is -1; must be"),
        ('state=[{match: "s7", down: true}]', "state: no part matches 's7'; there are such as s0"),
        ("hardware_set.card.clock_hx=1", "did you mean 'card.clock_hz'?"),
        ("hardware_set.card.clock_hz=.nan", "hardware_set.card.clock_hz is nan; must be finite"),
        ("hardware_set.card.clock_hz=-1", "card.clock_hz must be above 0, found -1"),
        ("hardware_set.card.clock_hz=1", "card.clock_hz must lie in 1e+06 to 1e+12 Hz"),
        ("hardware_set.chiplet.dimc_cores=1.5", "must be a whole number, found 1.5"),
        ("hardware_set.card.packages=1000000", "card.packages must lie in 1 to 64 count"),
        ("hardware_set.chiplet.sram_bytes=1e300", "chiplet.sram_bytes must lie in 0 to 1e+15 B"),
        ("hardware_set.dimc.clocks_per_vector_int8=0.5", "must be a whole number of at least 1"),
        ("hardware_set.dimc.clocks_per_vector_int4=4.5", "of at least 1, found 4.5"),
        ("hardware_set.dimc.rows=32", "dimc.rows must be 64, found 32: number formats share"),
        ("hardware_set.dimc.columns_int8=96", "columns_int8 must be a power of two of at least 2"),
        (
            "hardware_set.dimc.columns_int4=64",
            "columns_int4 must be 128 (dimc.columns_int8 x 8 / 4",
        ),
        ("hardware_set.dimc.columns_int8=128", "columns_int16 must be 64 (dimc.columns_int8 x 8"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refused([*SERVE, "--set", word], capsys)

    assert code == 2
    assert said in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["model=llama-3.1-70b"],
            "short by 895.7 MB; the smallest cluster that fits has 44 cards",
        ),
        (["plan.replicas=2"], "the plan needs 16 cards"),
        (["plan.tensor_parallel_size=8"], "the plan needs 16 cards"),
        (["formats.activations=fp8_e4m3"], "the matrix engine does not run activations in fp8"),
        (["hardware_set.chiplet.noc_bytes_per_clock=1.0e-9"], "one operation would last"),
        (
            ['links=[{match: "*", bandwidth_scale: 1.0e-6}]', SLOW],
            "one exchange of 4,194,304 bytes",
        ),
        (
            ["hardware_set.simd.norm_clocks=1.0e+5", CLOCK, "collectives.norms=replicated"],
            "a step of 512 tokens could last",
        ),
    ],
)
def test_what_cannot_run_says_why_and_what_could(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [part for word in words for part in ("--set", word)]
    code, message = refused([*SERVE, *sets], capsys)

    assert code == 3
    assert said in message


@pytest.mark.parametrize("out", ["good.csv", "good.csv/runs", "/proc/version/runs"])
def test_a_folder_that_cannot_be_written_is_named(
    out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refused([*SERVE, "--out", out], capsys)

    assert code == 2
    assert message.startswith(f"{out}: cannot store runs here")


@pytest.mark.parametrize(
    "argv",
    [
        ["init", "good.csv/x.yaml"],
        ["topology", "export", "--out", "good.csv/x.json"],
        ["trace", "convert", "good.csv", "--out", "good.csv/x.parquet"],
    ],
)
def test_a_file_that_cannot_be_written_is_named(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refused(argv, capsys)

    assert code == 2
    assert "good.csv/x." in message
    assert "Not a directory" in message


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ([*SERVE, "--json", "--set", "seed=-1"], 2),
        ([*SERVE, "--json", "--set", "plan.replicas=2"], 3),
        (["srve", "--json"], 2),
    ],
)
def test_with_json_an_error_is_one_object(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == code

    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == code
    assert said["error"]
