"""``corsair-sim validate``: published figures beside simulated ones, misses included."""

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cluster.studies.validate import Row

app = typer.Typer()

HEADERS = ("figure", "published", "simulated", "unit", "off", "within", "verdict", "source")
VERDICTS = """ok       within the tolerance
miss     not within it
fitted   the published figure set a figure of the catalogue: no evidence
outside  reported beside it, without a tolerance"""


@app.command()
def validate(*, as_json: terminal.Json = False, quiet: terminal.Quiet = False) -> None:
    """Compare each published figure with the simulated one; a miss is reported, not an error."""
    from cluster.studies.published import load_published
    from cluster.studies.validate import validate as compare
    from topology.catalog import load_hardware

    rows, sources = compare(), load_published().sources
    dispatch_s = load_hardware("corsair")["card.dispatch_s"]
    counts = Counter(row.verdict for row in rows)
    payload = {
        "rows": [_plain(row) for row in rows],
        "ok": counts["ok"],
        "misses": counts["miss"],
        "fitted": counts["fitted"],
        "outside": counts["outside"],
        "dispatch_s": dispatch_s,
        "sources": sources,
    }
    own = sum(row.verdict == "ok" and row.claim.confidence == "derived" for row in rows)
    foot = (
        f"{counts['ok']} ok ({own} of them our own arithmetic on others), {counts['miss']} missed, "
        f"{counts['fitted']} fitted, {counts['outside']} outside\n"
        f"The one free constant, card.dispatch_s, is {dispatch_s * 1e6:.3f} us; "
        "docs/validation.md says how it was fitted"
    )
    text = "\n\n".join([*_tables(rows), VERDICTS, _legend(rows, sources), foot])
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def off(row: "Row") -> str:
    """Deviation in per cent, without a negative zero."""
    return f"{round(100 * row.deviation, 1) + 0.0:+.1f} %"


def _tables(rows: "Sequence[Row]") -> list[str]:
    """A titled table per section."""
    return [
        f"{section}\n{terminal.table(HEADERS, [_cells(row) for row in members])}"
        for section, members in groupby(rows, key=lambda row: row.claim.section)
    ]


def _cells(row: "Row") -> list[object]:
    tolerance = row.beside.tolerance
    return [
        row.beside.label,
        row.claim.value,
        row.simulated,
        row.claim.unit,
        off(row),
        "-" if tolerance is None else f"{100 * tolerance:g} %",
        row.verdict,
        f"{row.claim.confidence}: {row.claim.source}",
    ]


def _legend(rows: "Sequence[Row]", sources: "Mapping[str, str]") -> str:
    used = {name for row in rows for name in row.claim.source.split(", ")}
    return "\n".join(f"{name:<5} {text}" for name, text in sources.items() if name in used)


def _plain(row: "Row") -> dict[str, object]:
    return {
        "name": row.name,
        "section": row.claim.section,
        "figure": row.beside.label,
        "unit": row.claim.unit,
        "published": row.claim.value,
        "simulated": row.simulated,
        "deviation": row.deviation,
        "tolerance": row.beside.tolerance,
        "verdict": row.verdict,
        "source": row.claim.source,
        "confidence": row.claim.confidence,
        "conditions": row.claim.conditions,
    }
