"""The tables of small studies: pair.md, pcie-road.md, nics.md, and one of block-sizes.md.

``python benchmarks/small_studies.py [TABLE ...]`` writes the named tables (by default all) between
``<!-- table NAME -->`` and ``<!-- end -->`` of their pages; with ``--print`` it prints them. Two
minutes.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.page_tables import with_table
from benchmarks.road_tables import (
    Changes,
    ends,
    nic_pools,
    nic_sends,
    number,
    roads,
    row,
    served,
    spread,
    table,
)
from benchmarks.supernode import shape, users
from cluster.perf_model.memory.fit import DoesNotFit
from cluster.studies.block_sizes import dot_rows

PAGES = Path(__file__).resolve().parents[1] / "docs" / "studies"
SCALES: Mapping[str, str] = {"exponent": "shared exponent", "up": "up", "exact": "exact"}


def dot_products() -> Iterator[str]:
    """Errors of inner products beside their bounds."""
    yield table(
        "mantissa",
        "scale",
        "block",
        "mean square: formula",
        "measured",
        "bound",
        "measured / bound",
        "SQNR, dB",
        "less 6.02 dB per bit of overhead",
        "largest / its bound",
    )
    for one in dot_rows():
        yield row(
            f"{one.bits}",
            SCALES[one.scale],
            f"{one.block}",
            f"{one.noise_formula:.3e}",
            f"{one.noise:.3e}",
            "" if one.bound is None else f"{one.bound:.3e}",
            "" if one.bound is None else f"{one.noise / one.bound:.2f}",
            f"{one.sqnr_db:.2f}",
            f"{one.sqnr_db - 6.02 * 8 / one.block:.2f}",
            "" if one.largest is None else f"{one.largest:.2f}",
        )


PAIR = "pair-8b.yaml"
ONE_GROUP, STAGES, REPLICAS = "one group, TP 2", "two stages", "two replicas"
IN_SRAM = ("performance", 8)
"""Memory mode, and cards of a server."""
IN_LPDDR = ("capacity", 2)
Arrangement = tuple[str, int, int, int]
"""In words; cards of a group, stages, replicas."""
ALONE: Sequence[Arrangement] = ((ONE_GROUP, 2, 1, 1), (STAGES, 1, 2, 1), (REPLICAS, 1, 1, 2))
PAIRS: Mapping[str, tuple[tuple[str, str, int, tuple[str, int], Sequence[Arrangement]], ...]] = {
    "pair-lpddr": (
        ("llama-3.1-8b", "mxint8", 1, IN_LPDDR, ALONE),
        ("gpt-oss-20b", "mxint4", 1, IN_LPDDR, ALONE),
        ("gpt-oss-120b", "mxint4", 1, IN_LPDDR, ALONE),
        ("llama-3.1-70b", "mxint8", 1, IN_LPDDR, ALONE),
    ),
    "pair-sram": (
        ("qwen3-0.6b", "mxint8", 1, ("performance", 2), ALONE),
        ("llama-3.1-8b", "mxint8", 1, IN_SRAM, ((ONE_GROUP, 2, 4, 1), (STAGES, 1, 8, 1))),
        ("gpt-oss-20b", "mxint4", 1, IN_SRAM, ((ONE_GROUP, 2, 4, 1), (STAGES, 1, 8, 1))),
        ("gpt-oss-120b", "mxint4", 5, IN_SRAM, ((ONE_GROUP, 2, 18, 1), (STAGES, 1, 36, 1))),
        ("llama-3.1-70b", "mxint4", 8, IN_SRAM, ((ONE_GROUP, 2, 32, 1), (STAGES, 1, 64, 1))),
    ),
}
"""Model, weights, servers, memory and arrangements."""
PAIR_METRICS = ("output_throughput", "mean_tpot_ms", "joules_per_output_token")
PAIR_FIGURES = ("pair.", "chiplet.lpddr", "card.package_link", "links.")


def pairs(name: str, many: int) -> Iterator[str]:
    """A pair of cards as one tensor-parallel group, and as two groups."""
    yield table(
        "model, weights",
        "a pair is",
        "TPOT of one user, ms",
        "TTFT of 1,024 tokens, ms",
        f"tokens/s of {many}",
        f"TPOT of {many}, ms",
        f"J/token of {many}, cards",
    )
    good, bad = ends("corsair", "auto", PAIR_FIGURES)
    for model, weights, servers, (mode, cards), arrangements in PAIRS[name]:
        for words, tensor, stages, replicas in arrangements:
            changes: Changes = {
                "model": model,
                "formats": {"weights": weights},
                "cluster": {"servers_per_rack": servers, "cards_per_server": cards},
                "memory": {"mode": mode},
                "plan": {**shape(tensor, stages)["plan"], "replicas": replicas},
            }
            label = (f"{model}, {weights}", f"{words}, PP {stages}" if stages > 2 else words)
            try:
                one, some = (
                    [served(PAIR, changes, load_of, end) for end in ({}, good, bad)]
                    for load_of in (users(1, 1024, 128, 3), users(many, 1024, 128, 4 * many))
                )
            except DoesNotFit:
                yield row(*label, "does not fit", *[""] * 4)
                continue
            yield row(
                *label,
                *(spread([run[key] for run in one]) for key in ("mean_tpot_ms", "mean_ttft_ms")),
                *(spread([run[key] for run in some]) for key in PAIR_METRICS),
            )


def pair_dispatch() -> Iterator[str]:
    """8B from the SRAM of a server with the time to dispatch an operation moved."""
    yield table(
        "us to dispatch an operation",
        "a pair is",
        "TPOT of one user, ms",
        "TTFT of 1,024 tokens, ms",
        "tokens/s of 60",
    )
    (arrangements,) = (each[-1] for each in PAIRS["pair-sram"] if each[0] == "llama-3.1-8b")
    for dispatch_s in (0.2e-6, 0.814e-6, 3e-6):
        for words, tensor, stages, _ in arrangements:
            changes: Changes = {
                "cluster": {"servers_per_rack": 1, "cards_per_server": 8},
                "memory": {"mode": "performance"},
                "hardware_set": {"card.dispatch_s": dispatch_s},
                **shape(tensor, stages),
            }
            one, some = (
                served(PAIR, changes, traffic)
                for traffic in (users(1, 1024, 128, 3), users(60, 1024, 128, 240))
            )
            yield row(
                number(1e6 * dispatch_s),
                f"{words}, PP {stages}",
                number(one["mean_tpot_ms"]),
                number(one["mean_ttft_ms"]),
                number(some["output_throughput"]),
            )


TABLES: Mapping[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "dot-products": ("block-sizes.md", dot_products),
    "pair-lpddr": ("pair.md", lambda: pairs("pair-lpddr", 16)),
    "pair-sram": ("pair.md", lambda: pairs("pair-sram", 60)),
    "pair-dispatch": ("pair.md", pair_dispatch),
    "roads-one": ("pcie-road.md", lambda: roads("least TPOT of one user")),
    "roads-many": ("pcie-road.md", lambda: roads("most tokens/s of 60")),
    "nic-sends": ("nics.md", nic_sends),
    "nic-pools": ("nics.md", nic_pools),
}
"""Each table's page, and its lines."""


def main() -> None:
    """Make the named tables anew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", help="leave the pages as they are")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    options = parser.parse_args()
    for name in options.tables or TABLES:
        if name not in TABLES:
            parser.error(f"unknown table {name!r}; one of {', '.join(TABLES)}")
        file, rows = TABLES[name]
        lines = "\n".join(rows())
        if options.print:
            print(f"\n## {name}\n{lines}", flush=True)
            continue
        page = PAGES / file
        page.write_text(with_table(page.read_text("utf-8"), name, lines), "utf-8")
        print(f"{file}: {name}", flush=True)


if __name__ == "__main__":
    main()
