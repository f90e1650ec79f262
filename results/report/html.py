"""Parts of a page: escaped words, sortable tables, figures, and the self-contained page."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from results.optional_deps import DRAW, optional

EMBED = "window.vegaEmbed = vegaEmbed;"
"""The plot library's function that the page's script uses."""
PREFIXED = ("s", "B", "Hz", "W", "J")
"""Units that take prefixes."""
LARGE, SMALL = "kMGTP", "munpf"


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount that is shown with a prefix of its unit, and sorted by its SI value."""

    value: float
    unit: str

    def __str__(self) -> str:
        """The text of the quantity: 400 ns, 128 GB/s.

        Examples
        --------
        >>> str(Quantity(4e-07, "s")), str(Quantity(128e9, "B/s")), str(Quantity(0.85, "fraction"))
        ('400 ns', '128 GB/s', '0.85 fraction')
        """
        scaled, prefix = self.value, ""
        if self.value and self.unit.startswith(PREFIXED):
            power = math.floor(math.log10(abs(self.value)) / 3 + 1e-9)
            most = 0 if self.unit == "s" else len(LARGE)  # kiloseconds are not used
            power = max(-len(SMALL), min(most, power))
            scaled = self.value / 1000.0**power
            prefix = LARGE[power - 1] if power > 0 else SMALL[-power - 1] if power < 0 else ""
        return f"{number(scaled)} {prefix}{self.unit}".rstrip()


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that sorts by any of its columns; numbers flush right, None as a dash."""
    heads = "".join(
        f'<th scope="col"><button type="button">{_broken(head)}</button></th>' for head in headers
    )
    body = "\n".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: object) -> str:
    if isinstance(value, Quantity):
        return f'<td class="number" data-value="{value.value!r}">{value}</td>'
    if value is None:
        return '<td class="number" data-value="">-</td>'
    if isinstance(value, bool) or not isinstance(value, int | float):
        mark = f' class="{value}"' if value in ("better", "worse") else ""
        return f'<td{mark} data-value="">{_broken(str(value))}</td>'
    return f'<td class="number" data-value="{value!r}">{number(value)}</td>'


def _broken(text: str) -> str:
    """Words with line breaks allowed after a dot or an underscore."""
    return re.sub(r"([._])(?=[a-z]{2})", r"\1<wbr>", escape(text))


def number(value: float) -> str:
    """A number as text: four digits, with thousands separators."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def figure(name: str, spec: Mapping[str, Any]) -> str:
    """A chart's specification, drawn by the page's script when it comes into view."""
    text = json.dumps(spec, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="figure" id="figure-{escape(name)}"><div class="plot"></div>'
        f'<script type="application/json">{text}</script></div>'
    )


def bullets(lines: Iterable[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def page(title: str, parts: Iterable[str], *, plots: bool) -> str:
    """One self-contained file: style, script and, with ``plots``, the plot library.

    Raises
    ------
    ResultsError
        The plot library is not installed.
    """
    here = files("results.report")
    scripts = [_plot_library()] if plots else []
    scripts.append((here / "script.js").read_text("utf-8"))
    style = (here / "style.css").read_text("utf-8")
    body = "\n".join(parts)
    code = "\n".join(f"<script>{_inside(script)}</script>" for script in scripts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><main>\n{body}\n</main>\n{code}\n</body></html>\n"
    )


@cache
def _plot_library() -> str:
    vl_convert = optional("vl_convert", DRAW)
    return f"{{{vl_convert.javascript_bundle(EMBED)}}}"


def _inside(script: str) -> str:
    """A script escaped for a page: no text in it closes the element."""
    return script.replace("</script", "<\\/script")
