"""Writes docs/scoreboard.md and cluster/bundled/trust.yaml from measured points of real GPUs.

``python benchmarks/scoreboard.py DATA``: DATA is a folder of measurements as ``corsair-sim validate
--data`` takes it. Takes a minute and a half.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cluster.studies.scoreboard import Board, Point, scoreboard
from cluster.studies.scoreboard.bands import band_of, errors_of, evidence, held, held_elsewhere
from cluster.studies.scoreboard.blind import CONSTANTS, Blind, write_blind
from cluster.studies.scoreboard.board import METRICS
from cluster.studies.scoreboard.changes import with_hardware, with_kv
from cluster.studies.scoreboard.operations import operations
from cluster.studies.scoreboard.page import SET_HEADERS, Section, page_of, percent, set_cells
from cluster.studies.scoreboard.recipe import FP8_CACHE, MAX_NUM_SEQS
from cluster.studies.scoreboard.trust_file import measured_sets, trust_yaml
from corsair_common.files import write_text

ROOT = Path(__file__).parents[1]
ONE_DONOR = (
    Blind(device="h100", donors=("b200",)),
    Blind(device="h100", donors=("rtx-pro-6000",)),
    Blind(device="b200", donors=("h100",)),
    Blind(device="rtx-pro-6000", donors=("h100",)),
)
TITLES = {"others": "blind", "data-sheet": "data sheet", "other-log": "host of one log"}
"""Short names of ``CONSTANTS``."""


def main() -> None:
    """Run all points as they are, with the other KV format, and blind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    board = scoreboard(data)
    keys = [(TITLES[name], key) for name, keys in CONSTANTS.items() for key in keys]
    keys += [(TITLES["others"], key) for key in ONE_DONOR]
    blind = [(title, key, _blind(data, key)) for title, key in keys]
    what_if = [row for _, key, found in blind for row in evidence(found.rows)
               if key in CONSTANTS["others"]]  # fmt: skip
    by_kind, parts = _by_kind(board), operations(data)
    bands = {name: band_of(rows) for name, rows in by_kind.items()} | {"blind": band_of(what_if)}
    write_text(
        ROOT / "cluster/bundled/trust.yaml",
        trust_yaml(bands, measured_sets(board.rows), (row["device"] for row in parts)),
    )
    sections = [*_kv(data), *_bands(by_kind, what_if, bands, blind)]
    title = "Scoreboard: GPUs predicted against measured"
    text = page_of(board, title, operations=parts, sections=sections)
    write_text(ROOT / "docs/scoreboard.md", text)
    print(f"wrote docs/scoreboard.md and cluster/bundled/trust.yaml from {len(board.rows)} rows")


def _blind(data: Path, key: Blind) -> Board:
    def only(point: Point) -> bool:
        return (point.key.device, point.key.engine) == (key.device, "vllm")

    with TemporaryDirectory() as folder:
        return scoreboard(data, only=only, change=with_hardware(write_blind([key], Path(folder))))


def _by_kind(board: Board) -> dict[str, list[Mapping[str, Any]]]:
    """Rows that are evidence, of dense models and of models with experts."""
    from workloads.model import load_model

    rows: dict[str, list[Mapping[str, Any]]] = {"dense": [], "experts": []}
    for row in evidence(board.rows):
        layers = load_model(row["set"]["model"]).layers
        kind = "experts" if any(layer.mlp.kind != "dense" for layer in layers) else "dense"
        rows[kind].append(row)
    return rows


def _kv(data: Path) -> list[Section]:
    """Sets whose recipe keeps KV in FP8, with bf16 instead, and errors by how much KV is read."""

    def only(point: Point) -> bool:
        return not point.refused and point.key.model in FP8_CACHE and point.key.precision != "bf16"

    boards = {kv: scoreboard(data, only=only, change=with_kv(kv)) for kv in ("fp8", "bf16")}
    rows = [[kv, *set_cells(one)] for kv, board in boards.items() for one in board.sets]
    formats = Section(
        title="Format of keys and values",
        headers=("KV", *SET_HEADERS),
        rows=rows,
        text="The recipe of the Llama-70B points keeps keys and values in FP8. In all other tables "
        "H100 is run with bf16, as its queues say it ran "
        "([decision 35](decisions/0035-measured-points-are-run-as-they-ran.md)), the others as the "
        "recipe says. Both for all (`validate --data ... --kv bf16`):",
    )
    trend = Section(
        title="TPOT errors by KV load",
        headers=("KV", "device", "precision", *(f"fifth {fifth}" for fifth in range(1, 6))),
        rows=[_trend(kv, board, one) for kv, board in boards.items() for one in board.sets
              if one["engine"] == "vllm"],
        text="Medians of signed errors in fifths of the points, by users x tokens a GPU. A wrong "
        "format shows as a slope: H100 is level with bf16 and falls with FP8. B200 is flatter with "
        "bf16, too, but none of its points queues for memory, which would decide, and medians "
        "favour FP8 in one precision: the recipe is kept.",
    )  # fmt: skip
    return [formats, trend]


def _trend(kv: str, board: Board, one: Mapping[str, Any]) -> list[str]:
    names = ("device", "engine", "model", "precision", "mode")
    rows = [
        row
        for row in board.rows
        if not row["fitted"] and all(row["set"][name] == one[name] for name in names)
    ]
    load = [(row["isl"] + row["osl"] / 2) * row["concurrency"] / row["tp_size"] for row in rows]
    parts = np.array_split(np.argsort(load, kind="stable"), 5)
    medians = [errors_of([rows[at] for at in part], "tpot") for part in parts]
    return [kv, one["device"], one["precision"], *(percent(float(np.median(e))) for e in medians)]


def _bands(
    by_kind: Mapping[str, list[Mapping[str, Any]]],
    what_if: list[Mapping[str, Any]],
    bands: Mapping[str, Mapping[str, Mapping[str, float]]],
    blind: Sequence[tuple[str, Blind, Board]],
) -> list[Section]:
    rows = [
        [
            title,
            f"{key.device} from {', '.join(key.donors)}",
            *set_cells(one)[2:4],
            *set_cells(one)[4:],
        ]
        for title, key, found in blind
        for one in found.sets
        if one["n"] > one["refused"]
    ]
    pooled = {**by_kind, "blind": what_if}
    names = {"dense": "dense models", "experts": "models with experts", "blind": "predicted blind"}
    spans = [
        [
            names[name],
            metric.upper(),
            str(bands[name][metric]["n"]),
            percent(bands[name][metric]["low"]),
            percent(bands[name][metric]["high"]),
            percent(held(found, bands[name], metric), ".0%"),
            percent(held_elsewhere(found, metric), ".0%"),
        ]
        for name, found in pooled.items()
        for metric in METRICS
        if metric in bands[name]
    ]
    return [
        Section(
            title="Predicted blind",
            headers=("how", "device and whose constants", *SET_HEADERS[2:]),
            rows=rows,
            text="Blind: each device with its data sheet and every fitted constant (products, "
            "attention, collectives, the engine's host time) of other devices: geometric means "
            "over them, one set for all formats, as the what-if devices have. H200 is the same "
            "chip as H100 and is no donor for it. Data sheet: three constants of products and the "
            "engine's are its own, attention and collectives those of other generations. Host of "
            "one log: the engine's constants are of the RTX PRO 6000 log alone, all else is its "
            "own. `validate --data ... --constants others|data-sheet|other-log` runs them.",
        ),
        Section(
            title="Bands",
            headers=("errors of", "metric", "n", "5 %", "95 %", "held", "held when left out"),
            rows=spans,
            text="Of vLLM's points that nothing was fitted on, without those of more users than "
            f"{MAX_NUM_SEQS} seats: how many seats there were is in no file. The first two are "
            "printed beside answers near what was measured; the last, of the first three blind "
            "devices, beside every what-if device (Corsair, Raptor, B300, MI300X, Gaudi 2) and "
            "beside answers outside of what was measured. Held: the share of the "
            "same rows inside; when left out: bands made without each fifth of the rows. "
            "Three blind devices are few: another may lie further off.",
        ),
    ]


if __name__ == "__main__":
    main()
