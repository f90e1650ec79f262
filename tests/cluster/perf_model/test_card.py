import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from cluster.perf_model.card import cards_of
from cluster.perf_model.memory import MemorySettings, fit
from cluster.perf_model.placement import place
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan


def test_cards_come_in_the_order_of_the_map_with_their_rank_and_memory(
    figures: dict[str, float], hand_map: Callable[..., Any]
) -> None:
    mxint8 = get_format("mxint8")
    plan = Plan(tensor_parallel_size=4, pipeline_parallel_size=3)
    settings = MemorySettings(weights=mxint8, kv=mxint8)
    placed = place(hand_map(12), tensor_parallel_size=4, pipeline_parallel_size=3)[:, ::-1]
    model = load_model("qwen3-8b")
    memory = fit(model, plan, figures, settings, settings.uniform(model, plan))

    cards = cards_of(hand_map(12), placed.astype(np.int64), memory)
    assert [card.index for card in cards] == list(range(12))
    assert [card.stage for card in cards] == [2] * 4 + [1] * 4 + [0] * 4
    assert cards[9].name == "s1.c1"
    assert cards[9].holdings == memory.holdings[0][1]
    assert pickle.loads(pickle.dumps(cards)) == cards
