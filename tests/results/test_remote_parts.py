"""Parts that were encoded elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from results.engine_columns import Coded
from results.remote_parts import decoded, encoded
from results.schema import OPS, TABLES
from results.store import RunWriter

MakeManifest: TypeAlias = Callable[..., dict[str, object]]


def ops(card: int, rows: int) -> dict[str, Any]:
    """Made-up operations of one card: constants, words, nulls and numbers."""
    count = np.arange(rows)
    return {
        "op": count,
        "card": card,
        "card_name": f"s0.c{card}",
        "server": 0,
        "rank": card,
        "stream": count % 3,
        "name": Coded(codes=count % 2, words=("up", "down")),
        "kind": "matmul",
        "phase": "decode",
        "step": count,
        "layer": np.ma.masked_less(count % 4 - 1, 0),
        "microbatch": 0,
        "bound": Coded(codes=count % 2, words=("mac", "simd")),
        "start_s": count / 8,
        "begin_s": np.where(count % 2, np.nan, count / 4),
        "end_s": count / 2,
        "flop": count,
        "read_bytes": count,
        "write_bytes": count,
        "payload_bytes": count,
    }


def test_a_part_that_was_encoded_leaves_the_same_bytes(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    files = []
    for name in ("here", "elsewhere"):
        with RunWriter(tmp_path / name, "r") as writer:
            for card, rows in ((0, 1000), (1, 1), (2, 0)):
                part = ops(card, rows)
                writer.append("ops", encoded(OPS, part) if name == "elsewhere" else part)
            folder = writer.commit(make_manifest("r"))
        files.append((folder / "ops.parquet").read_bytes())

    assert files[0] == files[1]


def test_a_part_of_another_table_is_refused() -> None:
    part = encoded(
        TABLES["step_times"], {"step": [0], "start_s": [0.0], "end_s": [1.0], "step_s": [1.0]}
    )

    with pytest.raises(ValueError, match="other columns"):
        decoded(OPS, part)
    with pytest.raises(ValueError, match="cannot be read"):
        decoded(TABLES["step_times"], part[:100])
