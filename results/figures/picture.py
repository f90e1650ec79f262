"""A chart as a file."""

import json
from pathlib import Path
from typing import Any

from results.errors import ResultsError, replacing
from results.optional_deps import DRAW, optional

ENDINGS = (".svg", ".png", ".json", ".html")
PIXELS_PER_POINT = 2
"""Of a PNG, for screens that have them."""


def save(chart: Any, path: str | Path) -> Path:
    """Write a chart atomically, in the format of the ending. Needs no browser.

    Raises
    ------
    ResultsError
        Another ending than ENDINGS, the packages for it are not there, or it cannot be written.
    """
    target = Path(path)
    content = picture(chart, check_ending(target))
    with replacing(target) as file:
        file.write(content)
    return target


def check_ending(path: Path) -> str:
    """The ending of a picture's file, in small letters.

    Raises
    ------
    ResultsError
        It is not in ENDINGS.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ResultsError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")
    return ending


def picture(chart: Any, ending: str) -> bytes:
    """The bytes of such a file."""
    spec = chart.to_dict()
    if ending == ".json":
        return json.dumps(spec).encode()
    vl_convert = optional("vl_convert", DRAW)
    if ending == ".svg":
        return str(vl_convert.vegalite_to_svg(spec)).encode()
    if ending == ".html":
        return str(vl_convert.vegalite_to_html(spec, bundle=True)).encode()
    return bytes(vl_convert.vegalite_to_png(spec, scale=PIXELS_PER_POINT))
