"""Puts machine code into wheels that are made beside numba: their first run compiles nothing.

``pip wheel --no-build-isolation --no-deps .`` in an environment of the project makes such a wheel,
for this Python, system and family of processors. Made without numba, a wheel is as before: for any
Python, and compiled on its first run. Clones (``pip install -e``) are never compiled here.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FEW = ("--quiet", "--set", "workload.synthetic.requests=20")
RUNS = (
    ("serve", *FEW),
    ("serve", "examples/disaggregated-8b.yaml", *FEW),
    ("replay", "examples/replay-8b-decode.yaml", "--quiet"),
    ("check", "--quiet"),  # bursts of the bundled traffic
    ("plan", "--tp", "4", "--pp", "2", "--max-num-seqs", "8", *FEW),
)
"""Commands that need all kernels; side by side, since compiling takes one core each."""


class MachineCode(BuildHookInterface[Any]):
    """The kernels of all engines, in ``cluster/compiled/code``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard" or find_spec("numba") is None:
            return
        self._made = Path(tempfile.mkdtemp(prefix="corsair-sim-wheel-"))
        root, code = Path(self.root), self._made / "code"
        paths = {"CORSAIR_SIM_CACHE": str(code), "PYTHONPATH": str(root)}
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "cluster", *words, *self._out(words)],
                cwd=root,
                env=os.environ | paths,
            )
            for words in RUNS
        ]
        if failed := [each.args for each in running if each.wait()]:
            raise RuntimeError(f"cannot compile for the wheel: {failed}")
        for folder in code.iterdir():
            build_data["force_include"][str(folder)] = f"cluster/compiled/code/{folder.name}"
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def _out(self, words: tuple[str, ...]) -> tuple[str, ...]:
        return ("--out", str(self._made / "runs")) if words[0] in ("serve", "replay") else ()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made on the way."""
        del version, build_data, artifact_path
        shutil.rmtree(getattr(self, "_made", ""), ignore_errors=True)
