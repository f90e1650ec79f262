"""Counterfactuals of latencies by cause: what is charged to a cause is what its removal gains.

    python -m benchmarks.attribution

serves a few requests one after the other (so that nothing queues) on many machines, sets the
figures behind one cause so that it takes no time, serves again, and compares the mean latency that
is gained with what was charged to the cause. Causes that stand under a maximum are left out, since
their removal leaves the other side: an operation is bound by its arrays or by its memory, and a
round between cards by PCIe or by the cards' own package links, which have the same rate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from cluster import Run, load, simulate

Machine: TypeAlias = tuple[str, str, tuple[int, int], tuple[int, int]]
"""Hardware, model, tensor and pipeline parallel size, prompt and output tokens."""
WITHIN = 0.05
LEAST = 0.001
"""Share of the latency below which a cause is not counted."""
HOST = {"host.overhead_s": 5e-5}
FAST = 1e15
"""Bytes per second of a link that takes no time."""
CORSAIR: Mapping[str, Mapping[str, float]] = {
    "host": {"host.overhead_s": 0.0},
    "dispatch": {"card.dispatch_s": 0.0},
    "network_d2d": {
        "package.d2d_latency_s": 0.0,
        "package.d2d_bandwidth_bytes_per_s": FAST,
        "package.d2d_total_bytes_per_s": FAST,
    },
    "network_bridge": {"pair.bridge_latency_s": 0.0, "pair.bridge_bandwidth_bytes_per_s": FAST},
}
GPU: Mapping[str, Mapping[str, float]] = {
    "host": {
        "host.overhead_s": 0.0,
        "engine.step_s": 0.0,
        "engine.sequence_s": 0.0,
        "engine.request_s": 0.0,
    },
}
MODELS = {
    "corsair": ("llama-3.1-8b", "qwen3-8b", "qwen3-1.7b", "qwen3-0.6b"),
    "h100": ("llama-3.1-8b", "qwen3-8b", "qwen3-32b"),
}
PLANS = {"corsair": ((8, 1), (4, 2), (2, 4)), "h100": ((1, 1), (2, 1), (8, 1))}
LENGTHS = ((100, 20), (1500, 40))


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A cause, what was charged to it, and what its removal gained, in mean milliseconds."""

    machine: str
    cause: str
    charged_ms: float
    gained_ms: float

    @property
    def error(self) -> float:
        return self.gained_ms / self.charged_ms - 1


def served(machine: Machine, figures: Mapping[str, float]) -> Run:
    """Four requests of one user, one after the other."""
    hardware, model, plan, lengths = machine
    prompt, output = ({"uniform": {"low": each, "high": each}} for each in lengths)
    scenario: dict[str, Any] = {
        "hardware": hardware,
        "hardware_set": dict(figures),
        "model": model,
        "plan": {"tensor_parallel_size": plan[0], "pipeline_parallel_size": plan[1], "replicas": 1},
        "workload": {
            "synthetic": {
                "requests": 4,
                "arrivals": {"concurrency": 1},
                "prompt_tokens": prompt,
                "output_tokens": output,
            }
        },
    }
    if hardware == "corsair":  # an algorithm that is chosen anew gains more than its time
        scenario["collectives"] = {"all_reduce": "hierarchical", "norms": "replicated"}
    return simulate(load(scenario))


def mean_ms(run: Run) -> float:
    """Mean end-to-end latency."""
    return 1e3 * float(np.asarray(run.requests["e2e_s"]).mean())


def removals() -> Iterator[Removal]:
    """Every cause of every machine."""
    for hardware, causes in (("corsair", CORSAIR), ("h100", GPU)):
        fixed = {**HOST, **({"links.chunk_overhead_s": 0.0} if hardware == "corsair" else {})}
        for model in MODELS[hardware]:
            for plan in PLANS[hardware]:
                for lengths in LENGTHS:
                    yield from of_machine((hardware, model, plan, lengths), causes, fixed)


def of_machine(
    machine: Machine,
    causes: Mapping[str, Mapping[str, float]],
    fixed: Mapping[str, float],
) -> Iterator[Removal]:
    """Every cause that one machine has."""
    before = served(machine, fixed)
    whole_ms = mean_ms(before)
    hardware, model, (tensor, pipeline), (prompt, output) = machine
    name = f"{hardware} {model} TP {tensor} PP {pipeline}, {prompt}/{output}"
    for cause, figures in causes.items():
        charged = before.latency_breakdown.get(f"{cause}_s")
        charged_ms = 0.0 if charged is None else 1e3 * float(np.asarray(charged).mean())
        if charged_ms < LEAST * whole_ms:
            continue
        gained_ms = whole_ms - mean_ms(served(machine, {**fixed, **figures}))
        yield Removal(machine=name, cause=cause, charged_ms=charged_ms, gained_ms=gained_ms)


def main() -> None:
    """Print every removal, and how many are near."""
    found = []
    for one in removals():
        found.append(one)
        print(
            f"{one.machine:48} {one.cause:16} charged {one.charged_ms:9.4f} ms, "
            f"gained {one.gained_ms:9.4f} ms, {100 * one.error:+7.2f} %",
            flush=True,
        )
    near = sum(abs(one.error) <= WITHIN for one in found)
    print(f"{near} of {len(found)} causes within {100 * WITHIN:.0f} %")


if __name__ == "__main__":
    main()
