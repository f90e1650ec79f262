"""What fits into cards, servers and racks, beside what is published of it, and a rack's power."""

import math
from typing import Any

from cluster.perf_model.calibrate import CONTEXT_TOKENS, SEVENTY_B
from cluster.perf_model.energy.facility import constant_watts
from cluster.perf_model.memory.fit import DoesNotFit
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import lay_out
from topology.catalog import Hardware
from workloads.formats import get_format
from workloads.model import load_model, weight_bytes
from workloads.model.size import tensor_bytes

WEIGHTS = "mxint4"
"""Of models that are published in 4 bits."""
TENSOR_SIZES = (1, 2, 4, 8)
PUBLISHED = {"20b": "gpt-oss-20b", "120b": "gpt-oss-120b"}


def held(hardware: Hardware) -> dict[str, float]:
    """By the name of the row without its section, in the unit of its claim."""
    rack_w = math.fsum(constant_watts(hardware, hardware.count("rack.servers"), 1).values())
    cards = hardware.count("rack.servers") * hardware.count("server.cards")
    return {
        **{f"{size}.weights": _file_bytes(name) / 1e9 for size, name in PUBLISHED.items()},
        **{f"{size}.cards": _fewest_cards(name, hardware) for size, name in PUBLISHED.items()},
        "lpddr.models": _models_of_a_card(),
        "rack.power": (rack_w + cards * hardware["card.tdp_w"]) / 1e3,
    }


def _file_bytes(name: str) -> float:
    """Of the published weights: experts in MXFP4, all else in BF16."""
    experts, rest = get_format("mxfp4"), get_format("bf16")
    return sum(
        tensor_bytes(tensor, experts if tensor.role == "expert" else rest)
        for tensor in load_model(name).tensors()
    )


def _fewest_cards(name: str, hardware: Hardware) -> float:
    """With a sequence's context, on any plan whose experts are whole; nan: more than a rack."""
    model = load_model(name)
    chiplets = hardware.count("card.packages") * hardware.count("package.chiplets")
    card = chiplets * hardware["chiplet.sram_bytes"] * hardware["chiplet.usable_sram_fraction"]
    least = math.ceil(weight_bytes(model, get_format(WEIGHTS)) / card)
    found = (
        float(cards)
        for cards in range(least, 65)
        for tensor in TENSOR_SIZES
        if cards % tensor == 0 and cards // tensor <= len(model.layers)
        if _fits(
            {
                "model": name,
                "cluster": {"servers_per_rack": -(-cards // 8)},
                "formats": {"weights": WEIGHTS},
                "plan": {
                    "tensor_parallel_size": tensor,
                    "pipeline_parallel_size": cards // tensor,
                    "expert_parallel_size": tensor,
                    "replicas": 1,
                },
            }
        )
    )
    return next(found, math.nan)


def _models_of_a_card() -> float:
    """Copies of the larger model of the calibration, with one sequence, in a card's LPDDR."""
    copies = 1
    while _fits(_in_lpddr(copies)):
        copies += 1
    return float(copies - 1)


def _in_lpddr(copies: int) -> dict[str, Any]:
    others = [SEVENTY_B.model] * (copies - 1)
    return {
        "model": SEVENTY_B.model,
        "cluster": {"cards_per_server": 1},
        "plan": {},
        "memory": {"mode": "capacity", "also_resident": others},
    }


def _fits(requested: dict[str, Any]) -> bool:
    """Whether it fits with the context of one sequence."""
    traffic = {
        "requests": 1,
        "arrivals": {"concurrency": 1},
        "prompt_tokens": {"fixed": CONTEXT_TOKENS},
        "output_tokens": {"fixed": 1},
    }
    alone = {"scheduler": {"max_num_seqs": 1}, "workload": {"synthetic": traffic}}
    try:
        lay_out(resolve(load({**alone, **requested})))
    except DoesNotFit:
        return False
    return True
