"""The figures of docs/studies/analog-imc.md: analog columns against the digital DIMC.

``python benchmarks/analog_imc.py`` prints the tables as Markdown: which ADC an analog column needs
at equal SQNR and what a conversion may take, and joules per token of Llama-3.1-8B with it. Two
minutes.
"""

from collections.abc import Iterator
from typing import Any

from cluster.studies.analog import (
    ROWS,
    Column,
    Rival,
    blocks,
    column_db,
    conversion_range_j,
    converter_m2,
    rivals,
)
from corsair_sim import load, simulate
from topology.catalog import load_hardware

COUNT = 1 << 12
DIGITAL = {"mxint8": "energy.mac_int8_j", "mxint4": "energy.mac_int4_j"}
LOSSES_DB = (0.5, 1.0, 3.0)
SPREADS = (0.003, 0.01, 0.02)
DECODE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "scheduler": {"max_num_seqs": 60},
    "workload": {
        "synthetic": {
            "requests": 300,
            "arrivals": {"concurrency": 60},
            "prompt_tokens": {"fixed": 128},
            "output_tokens": {"fixed": 512},
        }
    },
}


def token_mj(**moved: float) -> float:
    """Millijoules of the cards for an output token, 60 users without pause."""
    figures = {name.replace("__", "."): value for name, value in moved.items()}
    run = simulate(load({**DECODE, "hardware_set": figures}))
    return 1e3 * float(run.summary["joules_per_output_token"])


def column_rows() -> Iterator[str]:
    """The best column at each tolerance, and the best with one conversion: what that may take."""
    corsair = load_hardware("corsair")
    yield (
        "| format | digital, dB | within, dB | slices | conversions | capacitor, fF | ADC, bits "
        "| break-even, pJ | assumed, pJ | products at that, fJ | digital, fJ |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for fmt, figure in DIGITAL.items():
        sample = blocks(COUNT, fmt)
        for loss_db in LOSSES_DB:
            found = rivals(sample, corsair[figure], loss_db=loss_db)
            whole = [each for each in found[1:] if each.column.conversions == 1]
            for each in (found[0], *whole):
                yield _row(fmt, sample.digital_db, loss_db, each, corsair[figure])


def _row(fmt: str, digital_db: float, loss_db: float, best: Rival, mac_j: float) -> str:
    column, (low, high) = best.column, conversion_range_j(best.bits)
    ends = [1e15 * best.products_j(each) / ROWS for each in (low, high)]
    return (
        f"| {fmt} | {digital_db:.1f} | {loss_db:g} | {column.activation_slice} x "
        f"{column.weight_slice} | {column.conversions} | {1e15 * column.capacitor_f:g} "
        f"| {best.bits} | {1e12 * best.break_even_j:.3f} | {1e12 * low:.3f} to {1e12 * high:.3f} "
        f"| {ends[0]:.1f} to {ends[1]:.1f} | {1e15 * mac_j:g} |"
    )


def robust_rows() -> Iterator[str]:
    """The same number with capacitors that match better or worse, and with outliers."""
    mac_j = load_hardware("corsair")[DIGITAL["mxint8"]]
    yield "| spread of 1 fF | numbers | slices | ADC, bits | break-even, pJ |"
    yield "|---|---|---|---|---|"
    for spread in SPREADS:
        yield _robust(f"{100 * spread:g} %", "N(0, 1)", rivals(blocks(COUNT), mac_j, spread=spread))
    heavy = blocks(COUNT, tail=4)
    yield _robust("1 %", "Student's t (4)", rivals(heavy, mac_j))


def _robust(spread: str, numbers: str, found: list[Rival]) -> str:
    best = found[0]
    cut = f"{best.column.activation_slice} x {best.column.weight_slice}"
    return f"| {spread} | {numbers} | {cut} | {best.bits} | {1e12 * best.break_even_j:.3f} |"


def readout_rows() -> Iterator[str]:
    """Current readout: what the spread of conductances leaves, with a perfect ADC."""
    yield "| spread of conductances | SQNR with a perfect ADC, dB |"
    yield "|---|---|"
    sample = blocks(COUNT)
    for spread in (0.01, 0.02, 0.05, 0.1):
        column = Column(
            activation_slice=7,
            weight_slice=7,
            capacitor_f=1e-12,  # no thermal noise to speak of
            readout="current",
            spread=spread,
        )
        yield f"| {100 * spread:g} % | {column_db(sample, column, None):.1f} |"


def token_rows() -> Iterator[str]:
    """Joules per token: digital, analog at the ends of what conversions are said to take."""
    corsair = load_hardware("corsair")
    mac, area = DIGITAL["mxint8"], corsair["chiplet.area_m2"]
    best = rivals(blocks(COUNT), corsair[mac])[0]
    ends = [best.products_j(each) / ROWS for each in conversion_range_j(best.bits)]
    digital, free = token_mj(), token_mj(energy__mac_int8_j=0.0)
    per_mm2 = digital - token_mj(card__static_w=corsair["card.static_w"] * (1 - 1e-6 / area))
    yield "| multiply-add | fJ | mJ per token | against digital |"
    yield "|---|---|---|---|"
    values = {
        "digital": corsair[mac],
        "analog, ADC at the low end": ends[0],
        "analog, ADC at the high end": ends[1],
        "free": 0.0,
    }
    for name, mac_j in values.items():
        token = token_mj(energy__mac_int8_j=mac_j)
        more = 100 * (token / digital - 1)
        yield f"| {name} | {1e15 * mac_j:.1f} | {token:.3f} | {more:+.1f} % |"
    yield ""
    lines = corsair.count("dimc.columns_int8") * -(-7 // best.column.weight_slice)
    rate = corsair["card.clock_hz"] * 512 / ROWS * best.column.conversions / lines
    areas = [1e6 * lines * corsair.count("chiplet.dimc_cores") * a for a in converter_m2(best.bits)]
    worth = (digital - free) / per_mm2
    yield (
        f"{lines} bit lines a core; an ADC on each makes {rate / 1e6:.0f} million conversions/s to "
        f"keep up. All of a chiplet take {areas[1]:.0f} mm2 ({areas[0]:.0f} to {areas[2]:.0f}); "
        f"free products are worth the leakage of {worth:.1f} mm2, "
        f"{worth * 1e6 / lines / corsair.count('chiplet.dimc_cores'):.0f} um2 an ADC."
    )


def main() -> None:
    """Print all tables."""
    for rows in (column_rows, robust_rows, readout_rows, token_rows):
        print("\n".join(rows()), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
