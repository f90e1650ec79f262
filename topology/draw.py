"""The picture of a topology, as SVG or PNG. Only this module of the package imports the plot
stack."""

from pathlib import Path
from typing import Any, ClassVar

from corsair_common.files import write_bytes
from topology.drawing import Box, Scene, make_scene
from topology.types import Graph, LinkKind, TopologyError

FORMATS = (".svg", ".png")

# Okabe and Ito's colours, distinguishable to most colour-blind readers; widths and dashes help
_STYLES: dict[LinkKind, tuple[str, float, list[int]]] = {
    LinkKind.NOC: ("#999999", 1.5, []),
    LinkKind.D2D: ("#e69f00", 3.0, []),
    LinkKind.PACKAGE: ("#cc79a7", 3.5, []),
    LinkKind.PORT: ("#0072b2", 1.5, [4, 3]),
    LinkKind.BRIDGE: ("#d55e00", 5.0, []),
    LinkKind.NVLINK: ("#76b900", 3.5, []),
    LinkKind.MESH: ("#76b900", 2.0, []),
    LinkKind.PCIE: ("#0072b2", 2.0, []),
    LinkKind.INTER_SWITCH: ("#cc79a7", 4.0, []),
    LinkKind.HOST: ("#555555", 1.5, [2, 3]),
    LinkKind.NIC: ("#56b4e9", 2.0, [7, 3]),
    LinkKind.ETHERNET: ("#009e73", 2.0, []),
    LinkKind.SPINE: ("#5d3a9b", 1.8, []),
}
_WIDEST_PX = 1500
_MARGIN = 0.4
_CHAR_PX = 0.55
"""Width of a letter over its size: enough for a sans-serif face."""


class DrawingUnavailableError(RuntimeError):
    """The optional drawing packages are not installed."""

    exit_code: ClassVar[int] = 2


def draw_map(graph: Graph, path: str | Path) -> None:
    """Draw the topology into an SVG or PNG file, atomically.

    Raises
    ------
    TopologyError
        The file's ending is neither .svg nor .png.
    DrawingUnavailableError
        The ``draw`` extra is not installed.
    WriteError
        The file cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise TopologyError(f"{path}: the ending must be one of {', '.join(FORMATS)}")
    write_bytes(path, render(make_scene(graph), ending))


def render(scene: Scene, ending: str) -> bytes:
    """The picture's bytes in the format of ``ending``."""
    try:
        import altair
        import vl_convert
    except ImportError as error:
        raise DrawingUnavailableError(
            f"drawing needs the package {error.name}: pip install altair vl-convert-python"
        ) from None
    spec = _chart(scene, altair).to_dict()
    if ending == ".svg":
        return str(vl_convert.vegalite_to_svg(spec)).encode()
    return bytes(vl_convert.vegalite_to_png(spec, scale=2))


def _chart(scene: Scene, altair: Any) -> Any:
    left = min(box.x - box.width / 2 for box in scene.boxes) - _MARGIN
    right = max(box.x + box.width / 2 for box in scene.boxes) + _MARGIN
    low = min(box.y - box.height / 2 for box in scene.boxes) - _MARGIN
    high = max(box.y + box.height / 2 for box in scene.boxes) + _MARGIN
    scale = min(90.0, max(27.0, _WIDEST_PX / (right - left)))
    right = max(right, left + 520 / scale)
    keys = _key_places(scene, scale, left, right, low)
    low = min((key["y"] for key in keys), default=low) - 18 / scale
    axes = {
        "x": altair.X("x:Q", axis=None, scale=altair.Scale(domain=[left, right], nice=False)),
        "y": altair.Y("y:Q", axis=None, scale=altair.Scale(domain=[low, high], nice=False)),
    }
    layers = [
        *_box_layers(altair, axes, [box for box in scene.boxes if box.outline]),
        *_line_layers(altair, axes, scene),
        *_box_layers(altair, axes, [box for box in scene.boxes if not box.outline]),
        *_word_layers(altair, axes, scene, scale),
        *_key_layers(altair, axes, keys, scale),
    ]
    title = altair.TitleParams(scene.title, subtitle=scene.subtitle, anchor="start", fontSize=16)
    return (
        altair.layer(*layers)
        .properties(width=(right - left) * scale, height=(high - low) * scale, title=title)
        .configure(background="white", font="sans-serif", view={"stroke": None})
    )


def _box_layers(altair: Any, axes: dict[str, Any], boxes: list[Box]) -> list[Any]:
    rows = [
        {
            "x": box.x - box.width / 2,
            "x2": box.x + box.width / 2,
            "y": box.y - box.height / 2,
            "y2": box.y + box.height / 2,
            "fill": box.fill,
            "name": box.name,
        }
        for box in boxes
    ]
    if not rows:
        return []
    outline = boxes[0].outline
    mark = {"cornerRadius": 4, "strokeWidth": 1, "stroke": "#bbbbbb" if outline else "#444444"}
    return [
        altair.Chart(altair.Data(values=rows))
        .mark_rect(**mark)
        .encode(**axes, x2="x2", y2="y2", fill=altair.Fill("fill:N", scale=None))
    ]


def _line_layers(altair: Any, axes: dict[str, Any], scene: Scene) -> list[Any]:
    layers = []
    for kind in sorted({line.kind for line in scene.lines}):
        rows = [
            {"x": line.x, "y": line.y, "x2": line.x2, "y2": line.y2}
            for line in scene.lines
            if line.kind == kind
        ]
        layers.append(_rule(altair, rows, kind).encode(**axes, x2="x2", y2="y2"))
    return layers


def _rule(altair: Any, rows: list[dict[str, Any]], kind: LinkKind) -> Any:
    colour, width, dash = _STYLES[kind]
    look = {"color": colour, "strokeWidth": width, "strokeCap": "butt"}
    if dash:
        look["strokeDash"] = dash
    return altair.Chart(altair.Data(values=rows)).mark_rule(**look)


def _word_layers(altair: Any, axes: dict[str, Any], scene: Scene, scale: float) -> list[Any]:
    """Labels: in the middle of a node with its words below, in the corner of an outline."""
    size = min(14.0, max(10.0, scale * 0.3))
    small = size - 3
    labels, words, corners = [], [], []
    for box in scene.boxes:
        if box.outline:
            corners.append(_corner(box, scale))
            continue
        lines = _fitting(box, scale, size, small)
        y = box.y + len(lines) * (small + 2) / 2 / scale
        labels.append({"x": box.x, "y": y, "text": box.label})
        for index, line in enumerate(lines):
            below = (size + small) / 2 + 2 + index * (small + 2)
            words.append({"x": box.x, "y": y - below / scale, "text": line})
    marks: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        (labels, {"fontSize": size, "color": "#111111"}),
        (words, {"fontSize": small, "color": "#333333"}),
        (corners, {"fontSize": size, "color": "#555555", "align": "left", "dx": 5, "dy": 9}),
    ]
    return [
        altair.Chart(altair.Data(values=rows)).mark_text(**mark).encode(**axes, text="text:N")
        for rows, mark in marks
        if rows
    ]


def _corner(box: Box, scale: float) -> dict[str, Any]:
    """An outline's label: below on the left where links cross its upper edge, else above."""
    edge = -box.height / 2 + 17 / scale if box.label_below else box.height / 2
    return {"x": box.x - box.width / 2, "y": box.y + edge, "text": box.label}


def _fitting(box: Box, scale: float, size: float, small: float) -> tuple[str, ...]:
    """The box's further words: below one another or in one line, whatever there is room for."""
    for lines in (box.words, ("; ".join(box.words),) if box.words else ()):
        wide = max((len(line) for line in lines), default=0) * small * _CHAR_PX
        tall = size + 4 + len(lines) * (small + 2)
        if wide < box.width * scale and tall < box.height * scale:
            return lines
    return ()


def _key_places(
    scene: Scene, scale: float, left: float, right: float, low: float
) -> list[dict[str, Any]]:
    """Positions of the legend's entries: in lines below the picture."""
    places: list[dict[str, Any]] = []
    x, y = left + 0.3, low - 14 / scale
    for kind, text in scene.legend:
        width = (60 + len(text) * 12 * _CHAR_PX) / scale
        if x + width > right and places:
            x, y = left + 0.3, y - 22 / scale
        places.append({"kind": kind, "text": text, "x": x, "x2": x + 32 / scale, "y": y})
        x += width
    return places


def _key_layers(
    altair: Any, axes: dict[str, Any], keys: list[dict[str, Any]], scale: float
) -> list[Any]:
    layers = []
    for key in keys:
        row = {name: key[name] for name in ("x", "x2", "y")}
        layers.append(_rule(altair, [row], key["kind"]).encode(**axes, x2="x2"))
    rows = [{"x": key["x2"] + 8 / scale, "y": key["y"], "text": key["text"]} for key in keys]
    words = altair.Chart(altair.Data(values=rows)).mark_text(align="left", fontSize=12)
    return [*layers, words.encode(**axes, text="text:N")] if rows else layers
