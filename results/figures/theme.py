"""The style of all figures: colours that most colour-blind readers can distinguish, sizes, plot
stack.

Colours are those of Okabe and Ito; a colour means the same thing in every figure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from results.devices import Device
from results.optional_deps import DRAW, optional

Rows: TypeAlias = list[dict[str, Any]]

WIDTH, HEIGHT = 640, 240
PANEL_HEIGHT = 120
"""Of one panel among several below one another."""

IDLE_COLOUR = "#e4e4e4"
SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Of items without a fixed colour, in order."""
RENDERER = "corsair-sim"
"""Name of our renderer in Altair, enabled where the user has chosen none."""
HEAT = "viridis"
"""Of shares from 0 to 1: monotonic brightness, so it is readable in grey and by the
colour-blind."""


def altair() -> Any:
    """The plot stack, imported on first use.

    Raises
    ------
    ResultsError
        It is not installed.
    """
    plots = optional("altair", DRAW)
    if plots.renderers.active == "default":
        plots.renderers.register(RENDERER, _shown)
        plots.renderers.enable(RENDERER)
    return plots


def _shown(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A chart as notebooks show it without a network: the interactive form, and a picture.

    Altair's own default loads JavaScript from a server. Front ends without Vega-Lite of this
    version show the picture.
    """
    version = altair().SCHEMA_VERSION.partition(".")[0]
    return {
        f"application/vnd.vegalite.{version}+json": spec,
        "image/svg+xml": optional("vl_convert", DRAW).vegalite_to_svg(spec),
        "text/plain": "a chart",
    }


def plot(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A chart whose rows are in the specification itself: no file, no frame, no limit."""
    plots = altair()
    return plots.Chart(plots.Data(values=list(rows)))


def colour(title: str, names: Iterable[str], colours: Mapping[str, str] | None = None) -> Any:
    """A colour for each name, the names in this order in the legend."""
    domain = list(names)
    known = colours or {}
    spare = iter(SERIES_COLOURS * (1 + len(domain) // len(SERIES_COLOURS)))
    shades = [known[name] if name in known else next(spare) for name in domain]
    plots = altair()
    scale = plots.Scale(domain=domain, range=shades)
    return plots.Color("series:N", title=title, scale=scale)


def bound_colours(device: Device) -> dict[str, str]:
    """The colour of each bound of a device, in order, and of idle time."""
    return {bound.name: bound.colour for bound in device.bounds} | {"idle": IDLE_COLOUR}


def zoomable(chart: Any, *axes: str, name: str = "zoom") -> Any:
    """The chart, with zoom by shift and wheel and pan by shift and drag along ``axes``.

    Without shift the wheel scrolls the page. Panels of one chart need distinct names.
    """
    plots = altair()
    return chart.add_params(
        plots.selection_interval(
            name="".join(filter(str.isalnum, name)),
            bind="scales",
            encodings=list(axes),
            zoom="wheel![event.shiftKey]",
            translate="[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!",
        )
    )


def over_time(rows: Rows, title: str, *, legend: str = "", share: bool = False) -> Any:
    """A panel of lines over time: rows of ``s``, ``value`` and ``series``; several stack up."""
    plots = altair()
    axis = plots.Axis(minExtent=30, **({"format": "%"} if share else {}))
    panel = (
        plot(rows)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=plots.X("s:Q", title=None, scale=plots.Scale(zero=False, nice=False)),
            y=plots.Y("value:Q", title=title, axis=axis),
            color=colour(legend, dict.fromkeys(row["series"] for row in rows)),
            tooltip=[
                plots.Tooltip("s:Q", title="s", format=",.4~g"),
                plots.Tooltip("value:Q", title=title, format=".1%" if share else ",.4~g"),
                "series:N",
            ],
        )
        .properties(width=WIDTH, height=PANEL_HEIGHT)
    )
    return zoomable(panel, "x", name=title)


def stacked(panels: list[Any], title: str) -> Any:
    """Panels below one another on one axis of time, each with its own legend."""
    panels[-1].encoding.x.title = "time, s"
    chart = altair().vconcat(*panels, spacing=14)
    return finished(chart.resolve_scale(color="independent", x="shared"), title)


def finished(chart: Any, title: str, subtitle: str = "") -> Any:
    """The chart with its title and the common style."""
    plots = altair()
    text = plots.TitleParams(title, subtitle=subtitle, anchor="start", fontSize=15, offset=12)
    return (
        chart.properties(title=text)
        .configure(background="white", font="sans-serif")
        .configure_view(stroke="#cccccc")
        .configure_axis(gridColor="#ececec", labelFontSize=11, titleFontSize=12, titlePadding=8)
        .configure_legend(labelFontSize=11, titleFontSize=12, symbolStrokeWidth=3)
    )
