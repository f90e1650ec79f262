"""Processor time of commands of the bundled example: warm, cold, and cold from a wheel.

``python benchmarks/start.py`` prints one row each, the least of five (cold: one run); ``--wheel``
makes a wheel as well, and needs ``hatchling``. Cold is with an empty folder of machine code.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WARM = 5


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", action="store_true", help="from a wheel with machine code, too")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = {"check": ["check"], "serve": ["serve", "--out", str(folder / "runs")]}
        row("serve, cold", [measured(commands["serve"], ROOT, folder / "cold")])
        for label, words in commands.items():
            measured(words, ROOT, folder / "cold")
            row(label, [measured(words, ROOT, folder / "cold") for _ in range(WARM)])
        if wheel:
            row(
                "serve, cold, from a wheel",
                [measured(commands["serve"], made(folder), folder / "empty")],
            )


def made(folder: Path) -> Path:
    """A folder with the wheel of this tree, installed."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    wheels, site = folder / "wheels", folder / "site"
    alone = ["--no-build-isolation", "--no-deps", "-w", str(wheels), str(ROOT)]
    subprocess.run([*pip, "wheel", *alone], check=True)
    (built,) = map(str, wheels.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), built], check=True)
    return site


def measured(words: list[str], packages: Path, code: Path) -> tuple[float, float]:
    """Processor and wall time of a command, s."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "corsair_sim", *words, "--quiet"],
        env=os.environ | {"PYTHONPATH": str(packages), "CORSAIR_SIM_CACHE": str(code)},
        cwd=code.parent,
        check=True,
    )
    after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


def row(label: str, times: list[tuple[float, float]]) -> None:
    """The least processor time, and the least wall time."""
    cpu_s, wall_s = map(min, zip(*times, strict=True))
    print(f"{label:28} {cpu_s:6.2f} s of processor, {wall_s:6.2f} s")


if __name__ == "__main__":
    main()
