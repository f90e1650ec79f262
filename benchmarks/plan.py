"""Candidates scored per second, memory check included.

    python benchmarks/plan.py

Counted are distinct, legal candidates that got all of their columns: those that fail the memory
check or cannot be divided take part of the time, and are not counted. max_num_seqs takes every
integer from 1 to 1,024. Scoring is timed in wall and processor time (other work on the machine
lengthens the first only); pricing is printed separately and included.
"""

import time

from cluster.scenario.load import load
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan

CHOICES = Choices(
    tensor_parallel_size=(2, 4, 8),
    memory_mode=("performance",),
    max_num_seqs=tuple(range(1, 1025)),
    max_num_batched_tokens=(128, 256, 384, 512, 768, 1024, 1536, 2048),
)
TRAFFIC = {
    "equal requests": {
        "requests": 1000,
        "arrivals": {"poisson": {"rate_per_s": 10}},
        "prompt_tokens": {"fixed": 1024},
        "output_tokens": {"fixed": 256},
    },
    "chat (eight classes of prompts)": {"requests": 2000, "preset": "azure-conv-2023"},
}


def main() -> None:
    """Print one line for each kind of traffic, after a first study that compiles."""
    for name, synthetic in TRAFFIC.items():
        scenario = load({"model": "llama-3.1-8b", "workload": {"synthetic": synthetic}})
        plan(scenario, choices=Choices(tensor_parallel_size=(8,), max_num_seqs=(1,)), finalists=0)
        began_s, worked_s = time.perf_counter(), time.process_time()
        scored = plan(scenario, choices=CHOICES, finalists=0).scored
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - worked_s
        count = len(scored.shape)
        print(
            f"{name}: {count:,} candidates; scoring {scored.scoring_s:.2f} s, "
            f"{count / scored.scoring_s:,.0f}/s; processor {scored.scoring_cpu_s:.2f} s, "
            f"{count / scored.scoring_cpu_s:,.0f}/s; pricing {scored.pricing_s:.2f} s; "
            f"all {wall_s:.2f} s ({cpu_s:.2f} s of processor), {count / cpu_s:,.0f}/s"
        )


if __name__ == "__main__":
    main()
