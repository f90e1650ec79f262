"""Parts that the reports of studies share: the answer, loads, amounts with their bands."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from results.figures.studies import titled
from results.report.html import number, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a study found, and the sections of its page below."""

    title: str
    headline: str
    """One sentence, without its full stop."""
    details: tuple[str, ...]
    """Further ones."""
    sections: tuple[str, ...]


def section(title: str, *parts: str) -> str:
    """A heading and what is below."""
    return "\n".join([f"<h2>{escape(title)}</h2>", *parts])


def paragraph(text: str) -> str:
    """Escaped text."""
    return f"<p>{escape(text)}</p>"


def meter(share: float, words: str) -> str:
    """A bar that is filled so far: a load as a part of the capacity."""
    full = 100 * min(1.0, max(0.0, share))
    mark = " over" if share > 1 else ""
    return (
        f'<div class="meter{mark}" role="img" aria-label="{escape(words)}">'
        f'<div style="width: {full:.1f}%"></div></div>'
    )


def spread(value: float, low: float, high: float) -> str:
    """``0.61 (0.33 to 1.7)``."""
    return f"{number(value)} ({number(low)} to {number(high)})"


def shares(parts: Mapping[str, float]) -> str:
    """Parts of a whole, the largest first, as a sentence and a table; none below a percent."""
    ranked = sorted(parts.items(), key=lambda part: -part[1])
    rows = [(name, 100 * share) for name, share in ranked if share >= 0.01]
    return table(("bound", "% of the busy time"), rows)


def limits(slo: Mapping[str, float]) -> str:
    """The bounds of an SLO in words."""
    return ", ".join(
        f"{name.removesuffix('_s').upper()} {number(1e3 * value)} ms" for name, value in slo.items()
    )


def amount(metric: str, value: str) -> str:
    """``p99 TTFT 13.5 (12.4 to 16.4) ms``."""
    name, _, unit = titled(metric).partition(", ")
    return f"{name} {value} {unit}".rstrip()
