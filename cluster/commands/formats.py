"""``formats``: number formats, their costs and errors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.commands.terminal import Json, Quiet, show, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.studies.block_sizes import BlockRow, DotRow
    from cluster.studies.formats import FormatRow
    from cluster.studies.ridge import Ridge

app = typer.Typer(help="Number formats: bits, rate, error.", invoke_without_command=True)

Hardware = Annotated[str, typer.Option("--hardware", help="Catalogue name or file.")]
Draw = Annotated[
    Path | None, typer.Option("--draw", help="Also draw it: .svg, .png, .html or .json.")
]

HEADERS = (
    "format",
    "bits",
    "block",
    "scale",
    "multiplied as",
    "DIMC",
    "rate",
    "TFLOPS",
    "with 8-bit x",
    "SQNR, formula",
    "measured",
    "worst/own",
    "worst/block",
)
LEGEND = """bits           stored per element, shared scales and masks included
scale          of a block: a power of two (e8m0), a float of 8 bits (e4m4), or an E4M3 under one
               float32 of the whole array
multiplied as  what it is expanded to on its way to the matrix engine; - used only on links
rate, TFLOPS   against the hardware's first format (Corsair's MXINT8), and of a card, with
               activations of the width that it is multiplied in
with 8-bit x   TFLOPS of a card with 8-bit activations
SQNR           in dB: on N(0, 1) in closed form; measured on your numbers, or on a million of
               N(0, 1), seed 0 (- where nothing is lost)
worst          largest error over its own number, and over the largest of its block"""


@app.callback(invoke_without_command=True)
def formats(
    context: typer.Context,
    *,
    hardware: Hardware = "corsair",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List number formats: bits, rate in the matrix engine, and error on N(0, 1)."""
    if context.invoked_subcommand is not None:
        return
    from cluster.studies.formats import SEED, format_rows, gaussian_sample, plain
    from topology.catalog import load_hardware

    rows = format_rows(load_hardware(hardware), gaussian_sample())
    payload = {"seed": SEED, "hardware": hardware, "formats": [plain(row) for row in rows]}
    text = f"{_table(rows)}\n\n{LEGEND}"
    show(payload, text, as_json=as_json, quiet=quiet)


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="As in a scenario: mxint8, sbfp12_16+4:8.")],
    *,
    hardware: Hardware = "corsair",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show all facts of one format."""
    from cluster.studies.formats import format_rows, gaussian_sample, plain
    from topology.catalog import load_hardware

    (row,) = format_rows(load_hardware(hardware), gaussian_sample(), names=(name,))
    payload = plain(row)
    facts = [(key.replace("_", " "), value) for key, value in payload.items()]
    show(payload, table(("fact", "value"), facts), as_json=as_json, quiet=quiet)


@app.command()
def measure(
    file: Annotated[Path, typer.Argument(help="A .npy file of float32 or float64.")],
    *,
    axis: Annotated[int, typer.Option(help="The contracted axis; blocks are along it.")] = -1,
    only: Annotated[
        list[str] | None, typer.Option("--format", help="One format; may be repeated.")
    ] = None,
    hardware: Hardware = "corsair",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantise your array to every format, and print the errors."""
    from cluster.studies.formats import LISTED, format_rows, plain
    from topology.catalog import load_hardware
    from workloads.formats.array_file import read_array

    numbers = read_array(file)
    rows = format_rows(load_hardware(hardware), numbers, axis, only or LISTED)
    payload = {
        "file": str(file),
        "shape": list(numbers.shape),
        "axis": axis,
        "formats": [plain(row) for row in rows],
    }
    text = (
        f"{file}: {numbers.dtype} {list(numbers.shape)}, axis {axis}\n\n{_table(rows)}\n\n{LEGEND}"
    )
    show(payload, text, as_json=as_json, quiet=quiet)


@app.command()
def blocks(
    *,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    numbers: Annotated[int, typer.Option(min=256, help="Number of samples.")] = 1 << 22,
    draw: Draw = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare blocks of 16 to 256 elements at 4 and 8 bits, by formula and measured."""
    from cluster.studies.block_sizes import block_rows, dot_rows, drawn, plain, plain_dots

    _check(draw)
    rows, dots = block_rows(seed, numbers), dot_rows(seed, numbers)
    if draw is not None:
        from results.figures import block_sizes, save

        save(block_sizes(drawn(rows)), draw)
    payload = {
        "seed": seed,
        "numbers": numbers,
        "rows": [plain(row) for row in rows],
        "dot_products": [plain_dots(row) for row in dots],
        "figure": _name(draw),
    }
    text = f"{_block_table(rows)}\n\n{_dot_table(dots)}"
    show(payload, text, as_json=as_json, quiet=quiet)


@app.command()
def ridge(
    *,
    model: Annotated[str, typer.Option(help="Bundled name, or a config.json.")] = "llama-3.1-8b",
    draw: Draw = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare MXINT4 with MXINT8: one product by batch, and a model's decode on one server."""
    from cluster.studies.ridge import compare_pairs, drawn, plain

    _check(draw)
    found = compare_pairs(model)
    if draw is not None:
        from results.figures import by_batch, save

        title = "MXINT4 against MXINT8"
        save(by_batch(drawn(found), title, f"decode: {model} on one server, TP 4 x PP 2"), draw)
    payload = {"model": model, **plain(found), "figure": _name(draw)}
    show(payload, _ridge_text(found, model), as_json=as_json, quiet=quiet)


def _check(draw: Path | None) -> None:
    if draw is not None:
        from results.figures import check_ending

        check_ending(draw)


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _table(rows: "Sequence[FormatRow]") -> str:
    from cluster.studies.formats import plain

    cells = []
    for row in rows:
        known: dict[str, Any] = plain(row)
        cells.append(
            (
                known["name"],
                f"{known['bits_per_element']:g}",
                known["block"] if row.format.is_block else None,
                known["scale"] or "-",
                known["multiplied_as"] or "-",
                known["columns"] or "-",
                f"{row.rate:g}x" if row.rate else "-",
                known["tflops_per_card"],
                known["tflops_per_card_8_bit_activations"],
                _decibels(known["gaussian_sqnr_db"]),
                _decibels(known["measured_sqnr_db"]),
                known["largest_relative_error"],
                known["largest_error_of_block"],
            )
        )
    modes = HEADERS.index("DIMC")
    if all(row.columns is None for row in rows):  # no DIMC card
        others = [(*cell[:modes], *cell[modes + 1 :]) for cell in cells]
        return table((*HEADERS[:modes], *HEADERS[modes + 1 :]), others)
    return table(HEADERS, cells)


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _block_table(rows: "Sequence[BlockRow]") -> str:
    headers = (
        "bits",
        "block",
        "bits per element",
        "MSE, formula",
        "measured",
        "SQNR, dB",
        "with outliers, dB",
        "exact scales: formula",
        "measured",
    )
    cells = [
        (
            row.bits,
            row.block,
            f"{row.bits_per_element:.3f}",
            row.noise_formula,
            row.noise,
            f"{row.sqnr_db:.2f}",
            f"{row.heavy_db:.2f}",
            row.scaled_formula,
            row.scaled_noise,
        )
        for row in rows
    ]
    foot = "MSE and SQNR on N(0, 1); with outliers: Student's t, 4 degrees of freedom"
    return f"{table(headers, cells)}\n\n{foot}"


def _dot_table(rows: "Sequence[DotRow]") -> str:
    headers = (
        "bits",
        "scale",
        "block",
        "dot products: formula",
        "measured",
        "bound",
        "SQNR, dB",
        "worst/bound",
    )
    cells = [
        (
            row.bits,
            row.scale,
            row.block,
            row.noise_formula,
            row.noise,
            row.bound,
            f"{row.sqnr_db:.2f}",
            "-" if row.largest is None else f"{row.largest:.2f}",
        )
        for row in rows
    ]
    foot = """mean squares of errors by element, of dot products of N(0, 1) by blocks, and bounds
scale          exponent: the vendor's; up: M / 7 rounded up to a power of two; exact: M / 7
worst/bound    the largest error over what no numbers in its two blocks could exceed"""
    return f"{table(headers, cells)}\n\n{foot}"


def _ridge_text(found: "Ridge", model: str) -> str:
    pairs = [fact.pair for fact in found.facts]
    batches = sorted({row.batch for row in found.products})
    facts = [
        (
            fact.pair,
            fact.weights,
            fact.activations,
            fact.ridge,
            fact.most_sequences,
            fact.prefill_tokens_per_s,
        )
        for fact in found.facts
    ]
    times = {(row.pair, row.batch): row for row in found.products}
    products = [
        (
            batch,
            *(times[pair, batch].seconds * 1e6 for pair in pairs),
            *(times[pair, batch].tflops for pair in pairs),
        )
        for batch in batches
    ]
    steady = {(row.pair, row.mode, row.batch): row.tokens_per_s for row in found.decodes}
    cases = [(pair, mode) for mode in found.modes for pair in pairs]
    decodes = [(batch, *(steady.get((*case, batch)) for case in cases)) for batch in batches]
    k, n = found.product_shape
    context = f"{found.context_tokens:,}"
    return "\n\n".join(
        [
            table(("pair", "weights", "activations", "ridge", "users", "prefill tok/s"), facts),
            f"users: sequences of {context} tokens that fit beside the weights in SRAM",
            f"One product, k = {k:,}, n = {n:,}, weights in SRAM, on one card",
            table(
                ("batch", *(f"{pair}, us" for pair in pairs), *(f"{p}, TFLOPS" for p in pairs)),
                products,
            ),
            f"Decode of {model} on one server (TP 4 x PP 2), context {context}, tokens/s",
            table(("batch", *(f"{pair}, {mode}" for pair, mode in cases)), decodes),
        ]
    )
