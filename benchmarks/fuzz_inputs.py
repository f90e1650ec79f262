"""Valid inputs of every reader, and the commands that read them, for ``fuzz.py``."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import mutations
from cluster.commands.app import main as command
from topology.strict_yaml import read_document

Change: TypeAlias = Callable[[Random, bytes], bytes]
ROOT = Path(__file__).resolve().parents[1]
SMALL = {"synthetic": {"requests": 10, "preset": "azure-conv-2023"}}
SERVED = {
    "name": "fuzz",
    "model": "llama-3.1-8b",
    "cluster": {"racks": 1, "servers_per_rack": 1, "cards_per_server": 8},
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "scheduler": {"max_num_seqs": 16, "max_num_batched_tokens": 512},
    "workload": SMALL,
    "slo": {"ttft_s": 0.2, "tpot_s": 0.001},
    "store": {"bins": 10},
}
POOLS = {
    **{key: SERVED[key] for key in ("name", "model", "workload", "slo")},
    "cluster": {"servers_per_rack": 2},
    "plan": {"tensor_parallel_size": 2, "pipeline_parallel_size": 4},
    "pools": {"prefill": {"cards": 8}, "decode": {"cards": 8}},
    "transfer": {"mode": "layerwise"},
}
STEPS = {
    **{key: SERVED[key] for key in ("name", "model", "plan")},
    "workload": {"program": {"phase": "decode", "batch": 4, "context": 64, "steps": 2}},
}
PROGRAM = {"name": "p", "model": "llama-3.1-8b", "plan": SERVED["plan"]}
SWEEP = {
    "name": "s",
    "base": {key: value for key, value in SERVED.items() if key != "name"},
    "axes": [{"grid": {"scheduler.max_num_seqs": [4, 8]}}, {"zip": {"seed": [1], "warmup_s": [0]}}],
    "skip": ["scheduler.max_num_seqs == 4 and seed > 4"],
    "metrics": ["output_throughput", "p99_*"],
}
NETWORK = {
    "topology": ["Ring", "Switch"], "npus_count": [4, 2],
    "bandwidth": [50.0, 25.0], "latency": [500, 9],
}  # fmt: skip
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:15:{at}.6805900,{at + 300},{at}\n" for at in range(10, 40)
)
MOONCAKE = "".join(
    json.dumps({"timestamp": at, "input_length": 600, "output_length": 5, "hash_ids": [at, 1]})
    + "\n"
    for at in range(20)
)
SILICON = (
    "backend,model_path,system,precision,mode,isl,osl,concurrency,tp_size,silicon_ttft_ms,silicon_tpot_ms\n"
    "vllm,meta-llama/Llama-3.1-70B,h100_sxm,fp8,agg,1024,512,64.0,4,100.5,20\n"
    "trtllm,meta-llama/Llama-3.1-8B,h100_sxm,fp16,agg,128,128,1,1,,7.25\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A valid input, how it is changed, and commands that read it."""

    folder: str
    """Under the corpus; all of it is copied for a case."""
    file: str
    """The file that is changed; a pattern: any that matches."""
    changes: tuple[Change, ...]
    commands: tuple[str, ...]


def trees(rng: Random, content: bytes) -> bytes:
    """Change the tree of a JSON file; JSON is YAML as well."""
    return json.dumps(mutations.tree(rng, json.loads(content))).encode()


def lines(rng: Random, content: bytes) -> bytes:
    """Change the tree on one line of JSON."""
    found = content.splitlines()
    at = rng.randrange(len(found))
    found[at] = json.dumps(mutations.tree(rng, json.loads(found[at]))).encode()
    return b"\n".join(found) + b"\n"


TREES = (trees, trees, trees, mutations.raw)
TABLES = (mutations.table, mutations.table, mutations.raw)
READ_TRACE = (
    "trace describe {}", "trace convert {} --out out.parquet",
    "check served.json --set \'workload={{trace: {}}}\'",
)  # fmt: skip
REPLAY = ("replay -q --out runs {}",)
KINDS: dict[str, Kind] = {
    "scenario": Kind(folder="served", file="served.json", changes=TREES,
                     commands=("check {}", "check {}", "serve -q --out runs {}")),
    "pools": Kind(folder="pools", file="pools.json", changes=TREES,
                  commands=("check {}", "serve -q --out runs {}")),
    "operations": Kind(folder="steps", file="steps.json", changes=TREES,
                       commands=("check {}", *REPLAY)),
    "network": Kind(folder="network", file="ring.yml", changes=TREES,
                    commands=("replay -q --out runs network.json",)),
    "hardware": Kind(folder="hardware", file="*.yaml", changes=TREES,
                     commands=("hardware show {}", "check served.json --set hardware={}",
                               "topology show {}", "hardware diff corsair {}")),
    "topology": Kind(folder="topology", file="map.yaml", changes=TREES,
                     commands=("topology show {}", "topology export {} --out out.json",
                               "topology draw {} --out x.svg")),
    "model": Kind(folder="models", file="*.json", changes=TREES,
                  commands=("models show {}", "models show {}",
                            "check ../served/served.json --set model={}")),
    "csv trace": Kind(folder="traces", file="azure.csv", changes=(mutations.cells, mutations.raw),
                      commands=READ_TRACE),
    "jsonl trace": Kind(folder="traces", file="mooncake.jsonl", changes=(lines, mutations.raw),
                        commands=READ_TRACE),
    "parquet trace": Kind(folder="traces", file="own.parquet", changes=TABLES, commands=READ_TRACE),
    "gzip trace": Kind(folder="traces", file="azure.csv.gz", changes=(mutations.raw,),
                       commands=READ_TRACE),
    "servegen": Kind(folder="servegen", file="*", changes=(mutations.any_table, mutations.raw),
                     commands=("trace servegen rates.parquet lengths.tar --out x.parquet "
                               "--model m --rate 1 --duration-s 60",)),
    "measured": Kind(folder="measured", file="points.csv", changes=(mutations.cells, mutations.raw),
                     commands=("validate --data {}",)),
    "program": Kind(folder="program", file="program.parquet", changes=TABLES,
                    commands=("replay -q --out runs program.json",)),
    "chakra": Kind(folder="chakra", file="et/*", changes=(mutations.raw,),
                   commands=("replay -q --out runs chakra.json",)),
    "array": Kind(folder="array", file="a.npy", changes=(mutations.raw,),
                  commands=("formats measure {}",)),
    "sweep file": Kind(folder="sweep", file="sweep.json", changes=TREES,
                       commands=("sweep run -q --out made {} --limit 2",)),
    "sweep folder": Kind(folder="swept", file="made/**/*.*",
                         changes=(mutations.any_tree, mutations.raw),
                         commands=("sweep status made", "sweep show made", "sweep resume -q made",
                                   "report made --out x.html")),
    "run folder": Kind(folder="ran", file="*/*.*", changes=(mutations.any_tree, mutations.raw),
                       commands=("compare served steps", "export served --out x.json",
                                 "export served --out x.csv --format csv",
                                 "report served --out x.html", "timeline steps --out x.json")),
    "plan options": Kind(folder="served", file="", changes=(), commands=("plan -q served.json",)),
    "settings": Kind(folder="served", file="", changes=(),
                     commands=("check served.json", "serve -q --out runs served.json")),
}  # fmt: skip
"""Every reader."""


def make_corpus(folder: Path) -> None:
    """Write all valid inputs; those with binary parts are made by the commands themselves."""
    os.chdir(folder)
    for name, content in {
        "served/served.json": SERVED, "traces/served.json": SERVED, "hardware/served.json": SERVED,
        "pools/pools.json": POOLS, "steps/steps.json": STEPS, "sweep/sweep.json": SWEEP,
        "network/ring.yml": NETWORK,
        "network/network.json": {
            "network": "ring.yml",
            "endpoint": {"flop_per_s": 1e14, "bytes_per_s": 1e12},
            "workload": {"program": "program.parquet"},
        },
        "program/program.json": {**PROGRAM, "workload": {"program": "program.parquet"}},
        "chakra/chakra.json": {**PROGRAM, "workload": {"chakra": {"folder": "et"}}},
    }.items():  # fmt: skip
        _write(name, json.dumps(content).encode())
    for name in ("corsair", "h100"):
        content = {"name": "mine", "base": name, "figures": _figures(name)}
        _write(f"hardware/{name}-like.yaml", json.dumps(content).encode())
    for file in sorted((ROOT / "workloads/models").glob("*.json")):
        _write(f"models/{file.name}", file.read_bytes())
    _write("traces/azure.csv", AZURE.encode())
    _write("traces/mooncake.jsonl", MOONCAKE.encode())
    _write("measured/points.csv", SILICON.encode())
    _servegen()
    _by_commands()


def _by_commands() -> None:
    Path("array").mkdir()
    np.save("array/a.npy", np.arange(256.0).reshape(16, 16))
    import gzip

    Path("traces/azure.csv.gz").write_bytes(gzip.compress(AZURE.encode(), mtime=0))
    for words in (
        "trace convert traces/mooncake.jsonl --out traces/own.parquet -q",
        "topology export --out topology.yaml --level server --cards 4 -q",
        "replay -q --out runs steps/steps.json --save-program program/program.parquet "
        "--save-chakra chakra/et",
        "serve -q --out runs served/served.json",
        "sweep run -q --out swept/made sweep/sweep.json",
        "plan -q served/served.json --tp 4 --pp 2 --max-num-seqs 8",
    ):
        if command(words.split()) != 0:
            raise SystemExit(f"the corpus cannot be made: {words}")
    _write("topology/map.yaml", json.dumps(read_document("topology.yaml").data).encode())
    _write("network/program.parquet", Path("program/program.parquet").read_bytes())
    Path("ran").mkdir()
    for run in sorted(Path("runs").iterdir()):
        run.rename(Path("ran") / ("steps" if (run / "ops.parquet").exists() else "served"))


def _figures(name: str) -> dict[str, Any]:
    """The first figures of a bundled hardware file, as a file of one's own has them."""
    document = read_document(ROOT / f"topology/catalog/{name}.yaml").data
    return dict(list(document["figures"].items())[:12])


def _servegen() -> None:
    facts: dict[str, list[Any]] = {
        "model": ["m", "m"], "client": [0, 1], "t_start_s": [0, 0], "rate_rps": [1.0, 2.0],
        "family": ["Gamma", "Weibull"], "param0": [1.0, 0.5], "param1": [1.0, 0.25],
    }  # fmt: skip
    Path("servegen").mkdir()
    pq.write_table(pa.table(facts), "servegen/rates.parquet")
    with tarfile.open("servegen/lengths.tar", "w") as archive:
        for client in (0, 1):
            window = {"input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": "{1: 1.0}"}
            content = json.dumps({"0": window}).encode()
            info = tarfile.TarInfo(f"data/chunk-{client}-dataset.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _write(name: str, content: bytes) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
