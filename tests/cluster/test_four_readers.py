"""DuckDB, Polars, pandas and pyarrow answer ten questions from a run's files, with no help of ours.

The questions are in SQL, which DuckDB and Polars speak themselves; pandas and pyarrow have their
own words. All must say the same numbers.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cluster import Run

TABLES = ("requests", "cards", "links", "summary", "placement", "nodes", "edges")

SQL: Mapping[str, str] = {
    "requests answered": "select count(*) from requests where status = 'completed'",
    "output tokens": "select sum(output_tokens) from requests",
    "mean TTFT": "select avg(ttft_s) from requests",
    "longest end to end": "select max(e2e_s) from requests",
    "busy time of all cards": "select sum(busy_network_s + busy_dispatch_s) from cards",
    "idle time of the first card": "select sum(idle_s) from cards where card = 0",
    "bytes over the busiest link": "select max(total) from (select sum(bytes) as total from links"
    " group by link_name) as sums",
    "weights in SRAM": "select sum(bytes) from placement where \"where\" = 'sram'",
    "cards of the map": "select count(*) from nodes where kind = 'card'",
    "the summary's throughput": "select output_throughput from summary",
}


@pytest.fixture(scope="module")
def folder(run_small: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small().save(tmp_path_factory.mktemp("read"))


def by_pandas(read: Callable[[str], pd.DataFrame]) -> dict[str, Any]:
    requests, cards, links, placement = map(read, ("requests", "cards", "links", "placement"))
    nodes, summary = read("nodes"), read("summary")
    return {
        "requests answered": (requests["status"] == "completed").sum(),
        "output tokens": requests["output_tokens"].sum(),
        "mean TTFT": requests["ttft_s"].mean(),
        "longest end to end": requests["e2e_s"].max(),
        "busy time of all cards": (cards["busy_network_s"] + cards["busy_dispatch_s"]).sum(),
        "idle time of the first card": cards.loc[cards["card"] == 0, "idle_s"].sum(),
        "bytes over the busiest link": links.groupby("link_name", observed=True)["bytes"]
        .sum()
        .max(),
        "weights in SRAM": placement.loc[placement["where"] == "sram", "bytes"].sum(),
        "cards of the map": (nodes["kind"] == "card").sum(),
        "the summary's throughput": summary["output_throughput"].iloc[0],
    }


def by_arrow(read: Callable[[str], Any]) -> dict[str, Any]:
    requests, cards, links, placement = map(read, ("requests", "cards", "links", "placement"))
    nodes, summary = read("nodes"), read("summary")

    def where(table: Any, column: str, value: object) -> Any:
        words = table[column]
        plain = words.cast(pa.string()) if pa.types.is_dictionary(words.type) else words
        return table.filter(pc.equal(plain, value))

    sums = links.select(["link", "bytes"]).group_by("link").aggregate([("bytes", "sum")])
    busy = pc.add(cards["busy_network_s"], cards["busy_dispatch_s"])
    found = {
        "requests answered": where(requests, "status", "completed").num_rows,
        "output tokens": pc.sum(requests["output_tokens"]),
        "mean TTFT": pc.mean(requests["ttft_s"]),
        "longest end to end": pc.max(requests["e2e_s"]),
        "busy time of all cards": pc.sum(busy),
        "idle time of the first card": pc.sum(where(cards, "card", 0)["idle_s"]),
        "bytes over the busiest link": pc.max(sums["bytes_sum"]),
        "weights in SRAM": pc.sum(where(placement, "where", "sram")["bytes"]),
        "cards of the map": where(nodes, "kind", "card").num_rows,
        "the summary's throughput": summary["output_throughput"][0],
    }
    return {name: getattr(value, "as_py", lambda v=value: v)() for name, value in found.items()}


def one(rows: list[tuple[Any, ...]]) -> Any:
    """The one value of the one row."""
    ((value,),) = rows
    return value


def test_four_readers_give_ten_answers_alike(folder: Path) -> None:
    files = {name: folder / f"{name}.parquet" for name in TABLES}
    base = duckdb.connect()
    for name, file in files.items():
        base.execute(f"create view {name} as select * from '{file}'")
    frames = pl.SQLContext({name: pl.read_parquet(file) for name, file in files.items()})
    answers = {
        "duckdb": {name: one(base.execute(sql).fetchall()) for name, sql in SQL.items()},
        "polars": {name: frames.execute(sql, eager=True).item() for name, sql in SQL.items()},
        "pandas": by_pandas(lambda name: pd.read_parquet(files[name])),
        "pyarrow": by_arrow(lambda name: pq.read_table(files[name])),
    }

    requested = answers["duckdb"]
    assert len(requested) == 10
    assert requested["requests answered"] == 200
    assert requested["cards of the map"] == 8
    assert all(value > 0 for value in requested.values()), "nothing is nothing to agree on"
    for reader, found in answers.items():
        assert found == pytest.approx(requested, rel=1e-12), reader
