"""The tables of docs/studies/cost-of-parts.md: what cards cost from their parts, and for what.

``python benchmarks/cost_of_parts.py`` prints them as Markdown; half a minute.
"""

from collections.abc import Iterator
from typing import Any

from corsair_common.band import Band
from corsair_sim import load, simulate
from topology.catalog import Hardware, load_hardware
from topology.catalog.parts import bill_of_parts, card_usd

CARDS = ("corsair", "h100", "h200", "b200", "mi300x", "rtx-pro-6000", "raptor", "rubin-cpx")
USERS = (60, 256)
"""Of a replica, without pause."""
DECODE: dict[str, dict[str, Any]] = {
    "corsair": {"plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}},
    **{
        name: {
            "plan": {"tensor_parallel_size": 1},
            "formats": {"weights": "fp8_e4m3", "activations": "fp8_e4m3", "kv": "fp8_e4m3"},
            "scheduler": {"max_num_batched_tokens": 8192},
        }
        for name in ("h100", "h200", "b200")
    },
}
"""On a server of eight cards: one replica of Corsair, eight of a GPU."""


def lines(hardware: Hardware) -> dict[str, Band]:
    """The bill by line."""
    return {item.name: item.usd for item in bill_of_parts(hardware)}


def bill_rows() -> Iterator[str]:
    """Parts, the price from them, and the list price."""
    yield (
        "| card | dies | packaging and its losses | memory | board, test | all parts "
        "| margin | from parts | list price |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in CARDS:
        hardware = load_hardware(name)
        bill, listed = lines(hardware), hardware.figures["cost.card_usd"]
        dies = bill["dies"] + bill["other silicon"]
        packages = bill["packaging"] + bill["lost in packaging"]
        memory = bill["memory in packages"] + bill["memory on the board"]
        margin = 100 * hardware["parts.gross_margin_fraction"]
        yield (
            f"| {name} | {_usd(dies)} | {_usd(packages)} | {_usd(memory)} "
            f"| {_usd(bill['board and test'])} | {_usd(bill['all parts'])} | {margin:.0f} % "
            f"| {_usd(bill['card'])} | {listed.value:,.0f} |"
        )


def _usd(band: Band) -> str:
    return f"{band.value:,.0f} ({band.low:,.0f} to {band.high:,.0f})"


def sizes(hardware: Hardware) -> tuple[float, float, float]:
    """Dense PFLOPS at 8 bits, TB/s of the near memory, GB of it."""
    if hardware.kind == "gpu":
        return (
            hardware["gpu.fp8_flop_per_s"] / 1e15,
            hardware["gpu.memory_bandwidth_bytes_per_s"] / 1e12,
            hardware["gpu.memory_bytes"] / 1e9,
        )
    chiplets = hardware["card.packages"] * hardware["package.chiplets"]
    cores, clock = chiplets * hardware["chiplet.dimc_cores"], hardware["card.clock_hz"]
    macs = hardware["dimc.rows"] * hardware["dimc.columns_int8"]
    return (
        2 * cores * macs / hardware["dimc.clocks_per_vector_int8"] * clock / 1e15,
        cores * hardware["dimc.stream_bytes_per_clock"] * clock / 1e12,
        chiplets * hardware["chiplet.sram_bytes"] / 1e9,
    )


def size_rows() -> Iterator[str]:
    """USD of parts for a peak, a bandwidth and a gigabyte."""
    yield (
        "| card | PFLOPS, 8 bits | TB/s | GB near | USD of parts per PFLOPS | per TB/s "
        "| per GB near | at list price, per PFLOPS | per TB/s | per GB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name in CARDS:
        hardware = load_hardware(name)
        parts, each = lines(hardware)["all parts"].value, sizes(hardware)
        listed = hardware["cost.card_usd"]
        built = " | ".join(f"{parts / size:,.0f}" for size in each)
        sold = " | ".join(f"{listed / size:,.0f}" for size in each)
        yield f"| {name} | {' | '.join(f'{s:,.4g}' for s in each)} | {built} | {sold} |"


def swing_rows(name: str) -> Iterator[str]:
    """The price from parts with one figure at its low and at its high, the widest first."""
    hardware = load_hardware(name)
    found = []
    for figure in hardware.figures.values():
        if figure.name.startswith("parts.") and figure.uncertain:
            ends = [
                card_usd(load_hardware(name, {figure.name: end})).value
                for end in (figure.low, figure.high)
            ]
            found.append((abs(ends[1] - ends[0]), figure, ends))
    yield f"| {name}: figure | low | high | price at low | at high |"
    yield "|---|---|---|---|---|"
    for _, figure, ends in sorted(found, key=lambda each: -each[0])[:5]:
        _, low, high = figure.in_datasheet_unit()
        unit = figure.datasheet_unit
        yield (
            f"| `{figure.name}` | {low:g} {unit} | {high:g} {unit} | {ends[0]:,.0f} "
            f"| {ends[1]:,.0f} |"
        )


def decode_rows() -> Iterator[str]:
    """Decode points: Llama-3.1-8B in 8 bits on a server of eight cards, users without pause."""
    yield (
        "| eight cards | users a replica | TPOT, ms | tokens/s | USD of parts a token/s "
        "| at list price | USD per million tokens, price from parts |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, where in DECODE.items():
        for users in USERS:
            yield _decode_row(name, where, users)


def _decode_row(name: str, where: dict[str, Any], users: int) -> str:
    whole = users * (1 if name == "corsair" else 8)
    traffic = {
        "requests": 4 * whole,
        "arrivals": {"concurrency": whole},
        "prompt_tokens": {"fixed": 128},
        "output_tokens": {"fixed": 512},
    }
    scenario = {
        "model": "llama-3.1-8b",
        "hardware": name,
        "cluster": {"cards_per_server": 8},
        "workload": {"synthetic": traffic},
        "cost": {"from": "parts"},
        **where,
    }
    scenario["scheduler"] = {"max_num_seqs": users, **where.get("scheduler", {})}
    summary, hardware = simulate(load(scenario)).summary, load_hardware(name)
    rate = float(summary["output_throughput"])
    million = [summary[f"cost_per_million_output_tokens_usd{e}"] for e in ("", "_low", "_high")]
    return (
        f"| {name} | {users} | {summary['mean_tpot_ms']:.2f} | {rate:,.0f} "
        f"| {8 * lines(hardware)['all parts'].value / rate:.2f} "
        f"| {8 * hardware['cost.card_usd'] / rate:.2f} "
        f"| {million[0]:.3f} ({million[1]:.3f} to {million[2]:.3f}) |"
    )


def main() -> None:
    """Print all tables."""
    swings = [swing_rows(name) for name in ("corsair", "h100", "b200")]
    for rows in (bill_rows(), size_rows(), *swings, decode_rows()):
        print("\n".join(rows), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
