"""The tables of small studies of docs/studies/: each is written into its page.

``python benchmarks/small_studies.py [TABLE ...]`` writes the named tables (by default all) between
``<!-- table NAME -->`` and ``<!-- end -->`` of their pages; with ``--print`` it prints them.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.supernode import with_table
from cluster.studies.block_sizes import dot_rows

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "studies"
SCALES: Mapping[str, str] = {"exponent": "shared exponent", "up": "up", "exact": "exact"}


def dot_products() -> Iterator[str]:
    """Errors of inner products beside their bounds."""
    yield (
        "| mantissa | scale | block | mean square: formula | measured | bound | measured / bound "
        "| SQNR, dB | less 6.02 dB per bit of overhead | largest / its bound |"
        "\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for row in dot_rows():
        bound = (
            ("", "") if row.bound is None else (f"{row.bound:.3e}", f"{row.noise / row.bound:.2f}")
        )
        cells = (
            f"{row.bits}",
            SCALES[row.scale],
            f"{row.block}",
            f"{row.noise_formula:.3e}",
            f"{row.noise:.3e}",
            *bound,
            f"{row.sqnr_db:.2f}",
            f"{row.sqnr_db - 6.02 * 8 / row.block:.2f}",
            "" if row.largest is None else f"{row.largest:.2f}",
        )
        yield f"| {' | '.join(cells)} |"


TABLES: Mapping[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "dot-products": ("block-sizes.md", dot_products),
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
