"""Tables and figures of docs/studies/gpu-claims.md, from its CSV."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.page_tables import with_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies" / "gpu-claims.md"
FIGURES = ROOT / "docs" / "studies" / "figures"
GPUS = ("h100", "h200", "b200")
DEVICES = ("corsair", *GPUS)
USER = "output_tokens_per_s_per_user"
CARD = "output_tokens_per_s_per_card"
SYSTEM_J = "system_joules_per_output_token"
CARD_J = "joules_per_output_token"
USD = "cost_per_million_output_tokens_usd"
SHOWN_MS = (1, 4, 8, 16, 32, 64)
"""Bounds of TPOT that tables show."""
NEARLY = 0.95
"""Of the most tokens/s/card that a device reaches at any TPOT."""
CLAIMS: Sequence[tuple[str, str, float]] = (
    ("10x faster, as tokens/s/card at equal TPOT", CARD, 10.0),
    ("3x lower cost, as USD per token at equal TPOT", USD, 3.0),
    ("3x better energy efficiency, as J per token of the system", SYSTEM_J, 3.0),
    ("5x better energy efficiency, as J per token of the system", SYSTEM_J, 5.0),
    ("3x, as J per token of cards alone", CARD_J, 3.0),
    ("5x, as J per token of cards alone", CARD_J, 5.0),
)
Row = Mapping[str, Any]
Rows = Sequence[Row]


class Study:
    """The lines of the CSV by model, device, metric and bound of TPOT in ms (None: fastest)."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.models = list(dict.fromkeys(row["model"] for row in rows))
        self._at = {
            (row["model"], row["device"], row["metric"], row["tpot_ms_bound"]): row for row in rows
        }

    def at(self, model: str, device: str, metric: str, bound: float | None) -> Row | None:
        """One line."""
        return self._at.get((model, device, metric, bound))

    def front(self, model: str, device: str, metric: str) -> list[Row]:
        """Lines of a device, the shortest bound first."""
        names = (model, device, metric)
        known = [r for r in self.rows if (r["model"], r["device"], r["metric"]) == names]
        return sorted(known, key=lambda row: float(row["tpot_ms_bound"] or 0.0))

    def ratios(self, model: str, gpu: str, metric: str) -> list[Row]:
        """Lines in which both devices are within the bound, the shortest first."""
        return [
            row
            for row in self.front(model, gpu, metric)
            if row["corsair_better"] is not None and row["tpot_ms_bound"] is not None
        ]


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, or a blank."""
    if value is None or math.isnan(value):
        return ""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def band(row: Row | None, names: tuple[str, str, str] = ("value", "p5", "p95")) -> str:
    """The value, with the 5th and 95th percentile."""
    if row is None or row[names[0]] is None:
        return ""
    return "{} ({} to {})".format(*(number(row[name]) for name in names))


def ratio(row: Row | None) -> str:
    """How many times better Corsair is, with percentiles."""
    return band(row, ("corsair_better", "better_p5", "better_p95"))


def line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def head(*names: str) -> Iterator[str]:
    """The names of a table's columns."""
    yield line(*names)
    yield f"|{'---|' * len(names)}"


def fastest(study: Study) -> Iterator[str]:
    """One request at a time on the fastest plan."""
    yield from head("model", *DEVICES, *(f"Corsair over {gpu}" for gpu in GPUS))
    for model in study.models:
        lines = [study.at(model, device, USER, None) for device in DEVICES]
        yield line(model, *map(band, lines), *map(ratio, lines[1:]))


def equal_tpot(metric: str) -> Callable[[Study], Iterator[str]]:
    """A metric of all devices at bounds of TPOT."""

    def table(study: Study) -> Iterator[str]:
        yield from head("model, TPOT", *DEVICES)
        for model in study.models:
            for bound in SHOWN_MS:
                lines = [study.at(model, device, metric, float(bound)) for device in DEVICES]
                yield line(f"{model}, {bound} ms", *(band(row) or "none" for row in lines))

    return table


def claims(study: Study) -> Iterator[str]:
    """Up to which TPOT a claim holds, from the least that the GPU reaches, and the ratio there."""
    yield from head("claim, model", *(f"against {gpu}" for gpu in GPUS))
    for words, metric, factor in CLAIMS:
        for model in study.models:
            cells = [held(study.ratios(model, gpu, metric), factor) for gpu in GPUS]
            yield line(f"{words}, {model}", *cells)


def held(rows: Rows, factor: float) -> str:
    """Where the ratio is at least a factor, or what it is at most.

    >>> rows = [{"tpot_ms_bound": t, "corsair_better": r} for t, r in ((2, 30), (4, 9), (8, 2))]
    >>> held(rows, 9.0), held(rows, 100.0)
    ('2 to 4 ms (at 8 ms 2)', 'at no TPOT: at most 30, at 2 ms')
    """
    if not rows:
        return ""
    good = [row for row in rows if row["corsair_better"] >= factor]
    if not good:
        most = max(rows, key=lambda row: float(row["corsair_better"]))
        value = number(most["corsair_better"])
        return f"at no TPOT: at most {value}, at {number(most['tpot_ms_bound'])} ms"
    last, (low, high) = rows[-1], (number(each["tpot_ms_bound"]) for each in (good[0], good[-1]))
    end = f"{number(last['tpot_ms_bound'])} ms {number(last['corsair_better'])}"
    span = f"{low} ms" if low == high else f"{low} to {high} ms"
    return span if last is good[-1] else f"{span} (at {end})"


def equal_cards(study: Study) -> Iterator[str]:
    """The least TPOT with as many tokens/s/card as Corsair nearly has at most, and the ratio."""
    yield from head("model", "tokens/s/card", "corsair", *GPUS)
    for model in study.models:
        own = study.front(model, "corsair", CARD)
        most = max(float(row["value"]) for row in own)
        wanted = next(row for row in own if row["value"] >= NEARLY * most)
        cells = []
        for gpu in GPUS:
            enough = [r for r in study.front(model, gpu, CARD) if r["value"] >= wanted["value"]]
            times = [row["tpot_ms_bound"] / wanted["tpot_ms_bound"] for row in enough]
            ends = (
                [f"{number(enough[0]['tpot_ms_bound'])} ms, {number(times[0])}x"] if times else []
            )
            cells += ends or ["never"]
        at = f"{number(wanted['tpot_ms_bound'])} ms"
        yield line(model, number(wanted["value"]), at, *cells)


def odds(study: Study) -> Iterator[str]:
    """Share of the draws in which Corsair is the better, by bound of TPOT."""
    bounds = (4, 8, 16, 32, 64)
    yield from head("model, against", *(f"{bound} ms" for bound in bounds))
    for model in study.models:
        for gpu in GPUS:
            cells = []
            for bound in bounds:
                row = study.at(model, gpu, USD, float(bound))
                known = row is not None and row["better_draws"] is not None
                cells.append(f"{ratio(row)}, {row['better_draws']:.0%}" if known and row else "")
            yield line(f"{model}, {gpu}", *cells)


TABLES: Mapping[str, Callable[[Study], Iterator[str]]] = {
    "fastest": fastest,
    "tokens": equal_tpot(CARD),
    "joules": equal_tpot(SYSTEM_J),
    "card-joules": equal_tpot(CARD_J),
    "usd": equal_tpot(USD),
    "claims": claims,
    "equal-cards": equal_cards,
    "odds": odds,
}


def write_page(rows: Rows) -> None:
    """Put the tables of these lines into the page, and draw its figures."""
    study = Study(rows)
    write_tables({name: partial(table, study) for name, table in TABLES.items()})
    draw_fronts(study).save(str(FIGURES / "gpu-claims-fronts.svg"))
    draw_ratios(study).save(str(FIGURES / "gpu-claims-ratios.svg"))


def write_tables(tables: Mapping[str, Callable[[], Iterator[str]]]) -> None:
    """Put these tables into the page, each when it is made."""
    for name, table in tables.items():
        lines = "\n".join(table())
        PAGE.write_text(with_table(PAGE.read_text("utf-8"), name, lines), "utf-8")


def draw_fronts(study: Study) -> Any:
    """Tokens/s/card over tokens/s/user, a panel for each model, bands over draws."""
    import altair as alt

    rows = [
        {
            "model": row["model"],
            "device": row["device"],
            "user": 1e3 / row["tpot_ms_bound"],
            **{name: row[name] for name in ("value", "p5", "p95")},
        }
        for row in study.rows
        if row["metric"] == CARD and row["p5"] is not None
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("user:Q", title="tokens/s/user", scale=logarithmic(8, 3000)),
        color=alt.Color("device:N", **legend(DEVICES)),
    )
    y = {"title": "tokens/s/card", "scale": logarithmic(10, 50_000)}
    area = base.mark_area(opacity=0.2, clip=True).encode(y=alt.Y("p5:Q", **y), y2="p95:Q")
    curve = base.mark_line(point=alt.OverlayMarkDef(size=18), clip=True)
    return (
        alt.layer(area, curve.encode(y=alt.Y("value:Q", **y)))
        .properties(width=230, height=190)
        .facet(facet=alt.Facet("model:N", title=None, sort=study.models), columns=3)
    )


def draw_ratios(study: Study) -> Any:
    """How many times better Corsair is over the bound of TPOT, by metric and model."""
    import altair as alt

    titles = {CARD: "tokens/s/card", USD: "USD per token", SYSTEM_J: "J per token, system"}
    rows = [
        {
            "model": row["model"],
            "gpu": f"against {row['device']}",
            "metric": titles[row["metric"]],
            "ms": row["tpot_ms_bound"],
            "better": row["corsair_better"],
            "p5": row["better_p5"],
            "p95": row["better_p95"],
        }
        for row in study.rows
        if row["metric"] in titles and row["better_p5"] is not None
    ]
    data = alt.InlineData(values=rows)
    base = alt.Chart(data).encode(
        x=alt.X("ms:Q", title="TPOT, ms", scale=logarithmic(2, 100)),
        color=alt.Color("gpu:N", **legend([f"against {gpu}" for gpu in GPUS], skip=1)),
    )
    y = {"title": "Corsair better by", "scale": logarithmic(0.1, 100)}
    layers = (
        base.mark_area(opacity=0.2, clip=True).encode(y=alt.Y("p5:Q", **y), y2="p95:Q"),
        base.mark_line(clip=True).encode(y=alt.Y("better:Q", **y)),
        alt.Chart(data).mark_rule(color="#333333", strokeDash=[3, 3]).encode(y=alt.YDatum(1, **y)),
    )
    return (
        alt.layer(*layers)
        .properties(width=150, height=130)
        .facet(
            row=alt.Row("metric:N", title=None, sort=list(titles.values())),
            column=alt.Column("model:N", title=None, sort=study.models),
        )
    )


def logarithmic(low: float, high: float) -> Any:
    """A scale on which equal ratios are equally long."""
    import altair as alt

    return alt.Scale(type="log", domain=[low, high], nice=False)


def legend(names: Sequence[str], skip: int = 0) -> dict[str, Any]:
    """A colour for each device, the same in all figures, and its legend."""
    import altair as alt

    known = ("#d55e00", "#0072b2", "#009e73", "#cc79a7")
    return {
        "title": None,
        "sort": list(names),
        "scale": alt.Scale(domain=list(names), range=list(known[skip : skip + len(names)])),
        "legend": alt.Legend(symbolOpacity=1),
    }
