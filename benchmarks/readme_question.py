"""The question of the first screen of README.md: machines, formats, bounds, and the command."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCENARIO = ROOT / "examples" / "capacity-8b.yaml"
SCALE, TTFT_S, TPOT_MS = 20, 2.0, 30
BOUNDS_MS = (8, 10, 12, 16, 20, 24, 30, 40, 60)
"""Bounds of TPOT in the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A machine that is asked, and the number formats there."""

    title: str
    hardware: str
    weights: str
    kv: str


SIDES = (
    Side(title="Corsair, MXINT4", hardware="corsair", weights="mxint4", kv="mxint8"),
    Side(title="Corsair, MXINT8", hardware="corsair", weights="mxint8", kv="mxint8"),
    Side(title="H200, FP8", hardware="h200", weights="fp8_e4m3", kv="fp8_e4m3"),
    Side(title="B200, FP8", hardware="b200", weights="fp8_e4m3", kv="fp8_e4m3"),
    Side(title="B200, NVFP4", hardware="b200", weights="nvfp4", kv="fp8_e4m3"),
)


def question(side: Side, trace: str, tpot_ms: float) -> list[str]:
    """The command that asks for the fewest cards of one machine."""
    words = ["plan", str(SCENARIO.relative_to(ROOT)), "--trace", trace]
    words += ["--set", "model=llama-3.1-70b", "--set", f"workload.rate_scale={SCALE}"]
    if side.hardware != "corsair":
        words += ["--set", f"hardware={side.hardware}"]
        words += ["--set", "cluster.racks=2", "--set", "cluster.servers_per_rack=4"]
    words += ["--weights", side.weights, "--kv", side.kv]
    return [*words, "--slo", f"ttft_s={TTFT_S:g},tpot_s={tpot_ms / 1e3:g}", "--min-cards"]
