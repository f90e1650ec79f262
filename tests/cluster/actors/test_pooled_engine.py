"""Pools on actors: two actor group on one Ray, and the bits of one process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import Run, load, simulate


@pytest.mark.ray
@pytest.mark.parametrize("prefill", [{}, {"hardware": "h200"}], ids=["one kind", "two kinds"])
def test_pools_on_actors_give_the_same_tables(
    four_replicas: Mapping[str, Any],
    ray_cluster: Any,
    digests: Callable[[Run], dict[str, str]],
    tmp_path: Path,
    prefill: dict[str, Any],
) -> None:
    del ray_cluster
    pools = {
        "prefill": {"cards": 8, **prefill},
        "decode": {"cards": 4, "scheduler": {"max_num_seqs": 6}},
    }
    requested = load(four_replicas, pools=pools, store={"steps": True})
    local = simulate(requested, out=tmp_path / "local")
    run = simulate(requested, out=tmp_path / "ray", engine="ray", cards_per_actor=4)

    assert digests(run) == digests(local)
    assert run.summary["kv_transfer_bytes"] > 0
