"""Generators fitted to published traces.

Each fit takes the rate, 14 quantiles of both lengths and one figure of burstiness, measured on the
published file. Prompt and output lengths are drawn independently (their logarithms correlate by
less than 0.09 in all three traces). Slow swings over minutes, as of a working day, are in none:
the busiest minute of ``azure-conv-2023`` has three quarters of the trace's.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from workloads.prefix import SharedPrefix
from workloads.requests import Requests, TraceError
from workloads.synthetic import Arrivals, Gamma, Lengths, Measured, Quantiles, generate

_LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """All arguments of ``generate`` except the seed, and their source."""

    source: str
    requests: int
    """Number of requests of the trace."""
    arrivals: Arrivals
    prompt_tokens: Lengths
    output_tokens: Lengths
    shared_prefix: SharedPrefix | None = None


def _quantiles(*values: float) -> Quantiles:
    return Quantiles(levels=_LEVELS, values=values)


# Gaps have a coefficient of variation of 1.094, and a gamma's is burstiness ** -0.5.
_AZURE_CONV_2023 = Preset(
    source="AzureLLMInferenceTrace_conv.csv, 2023-11-16, CC-BY-4.0",
    requests=19_366,
    arrivals=Gamma(rate_per_s=5.53, burstiness=0.835),
    prompt_tokens=_quantiles(
        2, 29, 181, 207, 396, 1020, 1189, 2734, 4083, 4098, 4142, 4831, 6179, 14050
    ),
    output_tokens=_quantiles(7, 16, 41, 54, 85, 129, 395, 424, 451, 540, 601, 643, 954, 1000),
)

# The coefficient of variation is 13.2: bursts at ten a second between silences of minutes. A gamma
# of that variation would put whole bursts into one instant, hence the measured quantiles.
_AZURE_CODE_2023 = Preset(
    source="AzureLLMInferenceTrace_code.csv, 2023-11-16, CC-BY-4.0",
    requests=8_819,
    arrivals=Measured(
        rate_per_s=2.57,
        gaps_s=_quantiles(
            1e-5,
            3e-5,
            1e-4,
            2e-4,
            0.0021,
            0.0638,
            0.104,
            0.2729,
            0.4008,
            0.799,
            2.205,
            9.98,
            79.2,
            217.2,
        ),
    ),
    prompt_tokens=_quantiles(
        3, 17, 75, 147, 578, 1469, 2744, 5188, 7303, 7436, 7436, 7436, 7437, 7437
    ),
    output_tokens=_quantiles(6, 6, 6, 7, 9, 13, 24, 55, 90, 171, 251, 359, 825, 1899),
)

# Arrivals are on ticks of three seconds, an artefact, so burstiness is fitted to the minutes
# instead: their index of dispersion is 2.9, and that of long counts of gamma gaps 1 / burstiness.
# The chats are tuned to the ideal hit rate of 36.6 %; in the trace 39 % of the prompts continue an
# earlier one, and those are longer than the rest, which independent lengths do not show.
_MOONCAKE_CONVERSATION = Preset(
    source="mooncake conversation_trace.jsonl, Apache-2.0",
    requests=12_031,
    arrivals=Gamma(rate_per_s=3.40, burstiness=0.345),
    prompt_tokens=_quantiles(
        891, 894, 901, 964, 2306, 6909, 15367, 27367, 39550, 66449, 85400, 100810, 121301, 126195
    ),
    output_tokens=_quantiles(1, 3, 10, 24, 156, 350, 472, 597, 698, 892, 1118, 1568, 2000, 2000),
    shared_prefix=SharedPrefix(
        block_tokens=512, common_blocks=1, followup=0.5, choice=16, memory=500
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "azure-code-2023": _AZURE_CODE_2023,
        "azure-conv-2023": _AZURE_CONV_2023,
        "mooncake-conversation": _MOONCAKE_CONVERSATION,
    }
)


def get_preset(name: str) -> Preset:
    """The preset of that name; TraceError with the nearest one if there is none."""
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"; is it {near[0]!r}?" if near else ""
    raise TraceError(f"unknown preset {name!r}{hint} (known: {', '.join(PRESETS)})")


def generate_preset(name: str, rng: np.random.Generator, requests: int | None = None) -> Requests:
    """Draw from a preset, by default as many requests as its trace has."""
    preset = get_preset(name)
    return generate(
        preset.requests if requests is None else requests,
        preset.arrivals,
        preset.prompt_tokens,
        preset.output_tokens,
        rng,
        preset.shared_prefix,
    )
