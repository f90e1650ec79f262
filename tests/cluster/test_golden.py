"""Results move only on purpose: digests of a few tiny runs, kept with the model version.

When a change is meant to move results, raise ``MODEL_VERSION`` in cluster/scenario/run_id.py, say
why in CHANGELOG.md, and write the digests anew: ``python tests/cluster/test_golden.py``.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cluster import ReplayRun, Run, load, replay_trace, simulate
from cluster.disaggregated import tables as pool_outputs
from cluster.scenario.run_id import MODEL_VERSION
from cluster.serving import tables as serving_tables

STORED = Path(__file__).with_name("golden.json")

LENGTHS: dict[str, Any] = {
    "prompt_tokens": {"uniform": {"low": 10, "high": 1400}},
    "output_tokens": {"uniform": {"low": 1, "high": 50}},
}
BURSTS: dict[str, Any] = {"gamma": {"rate_per_s": 40.0, "burstiness": 0.4}}
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"synthetic": {"requests": 80, "arrivals": BURSTS, **LENGTHS}},
}
CHATS: dict[str, Any] = {
    "preset": "mooncake-conversation",
    "output_tokens": {"uniform": {"low": 1, "high": 900}},
}

SCENARIOS: Mapping[str, dict[str, Any]] = {
    "dense, two replicas by KV": {"cluster": {"servers_per_rack": 2}, "router": "least_kv"},
    "experts on two servers": {
        "model": "gpt-oss-20b",
        "cluster": {"servers_per_rack": 2},
        "plan": {"pipeline_parallel_size": 4, "expert_parallel_size": 2},
        "formats": {"weights": "mxint4"},
        "experts": {"routing": "zipf"},
    },
    "weights in LPDDR, closed loop": {
        "memory": {"mode": "capacity"},
        "workload": {"synthetic": {"requests": 40, "arrivals": {"concurrency": 9}}},
        "slo": {"ttft_s": 0.1},
    },
    "prefixes, at random, crowded": {
        "cluster": {"servers_per_rack": 2},
        "router": "random",
        "hardware_set": {"chiplet.usable_sram_fraction": 0.55},
        "scheduler": {"max_num_seqs": 16, "block_size": 32},
        "workload": {"synthetic": CHATS, "rate_scale": 100.0},
    },
    "windows in LPDDR, four replicas as vLLM routes": {
        "model": "gpt-oss-20b",
        "cluster": {"servers_per_rack": 2},
        "plan": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
        "memory": {"mode": "capacity", "pin": {"kv": "spill"}},
        "formats": {"weights": "mxint4"},
        "router": "vllm_dp",
    },
    "prompts in pieces, composed ahead": {
        "plan": {"tensor_parallel_size": 8, "pipeline_parallel_size": 1},
        "hardware_set": {"host.overhead_s": 5e-5},
        "scheduler": {
            "async_scheduling": True,
            "long_prefill_token_threshold": 100,
            "max_num_seqs": 12,
        },
    },
    "pools, KV moved by layer": {
        "cluster": {"servers_per_rack": 2},
        "pools": {
            "prefill": {"cards": 8},
            "decode": {"cards": 8, "scheduler": {"max_num_seqs": 30}},
        },
        "transfer": {"mode": "layerwise"},
    },
    "an oversubscribed pod": {
        "model": "llama-3.1-70b",
        "cluster": {"racks": 4, "servers_per_rack": 1},
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 8},
        "hardware_set": {"pod.spine_oversubscription": 4},
        "formats": {"weights": "mxint4"},
        "workload": {"synthetic": {"requests": 30}},
    },
    "latent attention over racks, a bad cable": {
        "model": "deepseek-v3",
        "cluster": {"racks": 2, "servers_per_rack": 2},
        "plan": {"tensor_parallel_size": 8, "pipeline_parallel_size": 4, "expert_parallel_size": 8},
        "memory": {"mode": "capacity"},
        "links": [{"match": "r0.s0.nic*>r0.leaf", "bandwidth_scale": 0.1}],
        "workload": {"synthetic": {"requests": 8}},
    },
}


REPLAYS: Mapping[str, dict[str, Any]] = {
    "decode, all slots": {"workload": {"program": {"phase": "decode", "batch": 5, "context": 700}}},
    "prompts of two replicas that share NICs": {
        "memory": {"mode": "capacity"},
        "cluster": {"servers_per_rack": 8, "cards_per_server": 2},
        "workload": {"program": {"phase": "prefill", "batch": 3, "prompt_tokens": 200}},
    },
    "experts, mixed steps": {
        "model": "gpt-oss-20b",
        "cluster": {"servers_per_rack": 2},
        "plan": {"pipeline_parallel_size": 4, "expert_parallel_size": 2},
        "formats": {"weights": "mxint4"},
        "workload": {
            "program": {"phase": "mixed", "batch": 6, "context": 300, "prompt_tokens": 500}
        },
    },
}


def digest(columns: Iterable[Mapping[str, npt.ArrayLike]]) -> str:
    """Twelve letters of all values of a table that comes in parts; missing ones count as such."""
    sha = hashlib.sha256()
    for part in columns:
        for name, values in part.items():
            column: Any = np.ma.asarray(values)
            sha.update(name.encode())
            sha.update(np.ma.getmaskarray(column).tobytes())
            sha.update(column.filled(column.dtype.type(0)).tobytes())
    return sha.hexdigest()[:12]


def digests(run: Run) -> dict[str, str]:
    tables: Any = serving_tables if run.resolved.pools is None else pool_outputs
    cards = tables.card_parts(run.machine, run.outcome)
    busy = ({k: v for k, v in part.items() if v is not None} for part in cards)
    return {"requests": digest([run.requests]), "cards": digest(busy)}


def replay_digests(run: ReplayRun) -> dict[str, str]:
    replayed = run.outcome.replayed
    times = {"start_ps": replayed.start_ps, "end_ps": replayed.end_ps}
    critical = {name: run.critical[name] for name in ("step", "cause", "time_s")}
    loads = {"load_bytes": replayed.load_bytes}
    return {"ops": digest([times]), "links": digest([loads]), "critical": digest([critical])}


def runs() -> dict[str, Run]:
    return {name: simulate(load(BASE, **changes)) for name, changes in SCENARIOS.items()}


def replays() -> dict[str, dict[str, str]]:
    base = {**BASE, "workload": {}}
    return {
        name: replay_digests(replay_trace(load(base, **changes)))
        for name, changes in REPLAYS.items()
    }


@pytest.fixture(scope="module")
def fresh() -> dict[str, Run]:
    return runs()


def test_results_have_not_moved(fresh: dict[str, Run]) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    found = {name: digests(run) for name, run in fresh.items()} | replays()
    moved = [name for name, each in found.items() if stored["digests"].get(name) != each]
    printed = stored["model_version"] == MODEL_VERSION

    assert printed, (
        f"model_version is {MODEL_VERSION}, but {STORED.name} is not written anew: {__doc__}"
    )
    assert not moved, f"results moved: {', '.join(moved)}. {__doc__}"


def test_the_tiny_runs_bring_the_rules_into_play(fresh: dict[str, Run]) -> None:
    crowded = fresh["prefixes, at random, crowded"].summary

    assert all(run.summary["failed"] == 0 for run in fresh.values())
    assert crowded["preemptions"] > 0
    assert crowded["prefix_hit_rate"] > 0


if __name__ == "__main__":
    content = {
        "model_version": MODEL_VERSION,
        "digests": {name: digests(run) for name, run in runs().items()} | replays(),
    }
    STORED.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
