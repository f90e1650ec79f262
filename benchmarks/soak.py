"""Fault injection in sweeps: killed drivers, workers and nodes, full disks; rows must not change.

One sweep runs undisturbed in this process. Then its driver is killed (``kill -9``) at random
moments, --kills times, and restarted each time, in process and on Ray: most kills
fall after the driver has written its first part, some before. On Ray, workers are killed at random
moments, and nodes of a local Ray of several are removed. At last the disk is full repeatedly: the
sweep's folder is a tmpfs that grows a little each time (this needs root). Every dataset must have
the rows of the first, but for ``seconds`` and ``host``. Ends with 1 if one has not.

    python benchmarks/soak.py [--seed 0] [--kills 10] [--points 480] [--only driver-ray]
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from cluster import sweep
from cluster.actors.session import private_environment
from results import ResultsError, open_sweep

LATE_S = 5.0
"""Longest life of a driver after its first part, in seconds."""
EARLY = 0.2
"""Share of drivers that are killed before that, at most EARLY_S after they began to run points."""
EARLY_S = 3.0
PATIENCE_S = 180.0
ROOM_KB = 1024
"""Room of the small disk, and by how much it grows each time that it is full."""


def main() -> None:
    """Run every fault scenario and print a line about each fault."""
    requested = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    requested.add_argument("--seed", type=int, default=0)
    requested.add_argument("--kills", type=int, default=10)
    requested.add_argument("--points", type=int, default=480)
    requested.add_argument("--only", choices=tuple(FAULTS))
    words = requested.parse_args()
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "soak.yaml"
        file.write_text(json.dumps(definition(words.points)))  # JSON is YAML
        sweep(file, out=Path(root) / "undisturbed")
        wanted = rows(Path(root) / "undisturbed")
        print(f"seed {words.seed}, {len(wanted)} points, undisturbed done", flush=True)
        bad = 0
        for name, inject in FAULTS.items():
            if words.only in (None, name):
                chance = random.Random(f"{words.seed} {name}")
                faults = inject(file, Path(root) / name, chance, words.kills)
                same = rows(Path(root) / name) == wanted
                bad += not same
                printed = "the rows are those undisturbed" if same else "THE ROWS DIFFER"
                print(f"{name}: {faults} faults, {printed}", flush=True)
    raise SystemExit(bool(bad))


def definition(points: int) -> dict[str, Any]:
    """A sweep of about so many points, a few of them infeasible and skipped."""
    rates = max(1, points // 12)
    return {
        "name": "soak",
        "base": {
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "workload": {"synthetic": {"requests": 4000, "preset": "azure-conv-2023"}},
        },
        "axes": {
            "formats.weights": ["mxint8", "mxint4"],
            "plan.pipeline_parallel_size": [1, 2, 4],
            "scheduler.max_num_seqs": [8, 64],
            "workload.rate_scale": [1 + n / 10 for n in range(rates)],
        },
        "skip": ["plan.pipeline_parallel_size == 1 and scheduler.max_num_seqs == 8"],
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows without what may differ."""
    found = open_sweep(folder).points.to_pylist()
    return [{k: v for k, v in row.items() if k not in ("seconds", "host")} for row in found]


def command_of(file: Path, out: Path, *words: str) -> list[str]:
    """The sweep as a user starts it, printing only errors."""
    return [sys.executable, "-m", "cluster", "sweep", str(file), "--out", str(out), "-q", *words]


def kill_drivers(engine: str) -> Callable[[Path, Path, random.Random, int], int]:
    """Kill the driver ``kills`` times while it runs points, and restart it."""

    def inject(file: Path, out: Path, chance: random.Random, kills: int) -> int:
        command, fallen = command_of(file, out, "--engine", engine), 0
        for turn in range(1, kills + 1):
            before = there(out)
            early = chance.random() < EARLY
            printed = "its start" if early else "its first part"
            wait_s = chance.uniform(0, EARLY_S if early else LATE_S)
            child = subprocess.Popen(command, start_new_session=True)
            wait_for_start(child, out / "sweep.json")
            if not early:
                wait_for_part(child, out)
            time.sleep(wait_s)
            ended = child.poll() is not None
            if not ended:
                os.kill(child.pid, signal.SIGKILL)
                fallen += 1
            child.wait()
            how = "it had ended" if ended else f"killed {wait_s:.1f} s after {printed}"
            print(f"  driver {turn}: {how}; {before} points before, {there(out)} after", flush=True)
        subprocess.run(command, check=True)
        return fallen

    return inject


def kill_workers(file: Path, out: Path, chance: random.Random, kills: int) -> int:
    """Kill workers at random points."""
    fallen = []

    def fault() -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "_checked" in process.name():
                    process.kill()
                    fallen.append(process.pid)
                    return

    sweep(file, out=out, engine="ray", observer=Striking(chance, kills, fault))
    return len(fallen)


def remove_nodes(file: Path, out: Path, chance: random.Random, kills: int) -> int:
    """Remove nodes of a local Ray while they work, and add others."""
    del kills
    with nodes() as (cluster, more):

        def fault() -> None:
            cluster.remove_node(more.pop(), allow_graceful=False)
            more.append(cluster.add_node(num_cpus=1))

        sweep(file, out=out, engine="ray", observer=Striking(chance, 2, fault))
    return 2


def fill_disk(file: Path, out: Path, chance: random.Random, kills: int) -> int:
    """Fill the disk; each time it has a little more space, until the sweep ends."""
    del chance, kills
    full, room_kb, before = 0, ROOM_KB, 0
    with small_disk(out, room_kb):
        while (
            done := subprocess.run(command_of(file, out), stderr=subprocess.PIPE, text=True)
        ).returncode:
            full += 1
            kept, said = there(out), done.stderr.strip()
            print(f"  {room_kb} kB: exit {done.returncode}, {kept} points kept: {said}", flush=True)
            if "No space left on device" not in said or kept < before:
                raise SystemExit("NO CLEAR ERROR, OR POINTS WERE LOST")
            before, room_kb = kept, room_kb + ROOM_KB
            subprocess.run(["mount", "-o", f"remount,size={room_kb}k", str(out)], check=True)
        shutil.copytree(out, f"{out}-kept")
    out.rmdir()
    Path(f"{out}-kept").rename(out)
    return full


FAULTS = {
    "driver-local": kill_drivers("local"),
    "driver-ray": kill_drivers("ray"),
    "workers": kill_workers,
    "nodes": remove_nodes,
    "full-disk": fill_disk,
}


class Striking:
    """Injects faults at random points of a sweep."""

    def __init__(self, chance: random.Random, faults: int, fault: Callable[[], None]) -> None:
        self._chance = chance
        self._faults = faults
        self._fault = fault
        self._at: set[int] = set()
        self._done = 0

    def planned(self, looked_at: int, total: int) -> None: ...

    def started(self, total: int, done: int) -> None:
        # The skipped points come first, all at once.
        self._at = set(self._chance.sample(range(total // 4, total), self._faults))
        del done

    def noted(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def advanced(self, row: Mapping[str, Any]) -> None:
        del row
        self._done += 1
        if self._done in self._at:
            self._fault()


@contextmanager
def nodes() -> Iterator[tuple[Any, list[Any]]]:
    """A Ray of three nodes of one CPU each; two may be removed."""
    with private_environment():
        import ray
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False}
        head["_system_config"] = {"health_check_period_ms": 500}  # type: ignore[assignment]
        cluster: Any = Cluster(initialize_head=True, connect=True, head_node_args=head)
        try:
            yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
        finally:
            ray.shutdown()
            cluster.shutdown()


@contextmanager
def small_disk(folder: Path, room_kb: int) -> Iterator[None]:
    """A file system of its own for a folder, in memory."""
    folder.mkdir()
    size = f"size={room_kb}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def wait_for_start(child: "subprocess.Popen[bytes]", manifest: Path) -> None:
    """Wait until the driver has resolved the points and begins to run them."""
    before = manifest.stat().st_mtime_ns if manifest.exists() else 0
    end_s = time.monotonic() + PATIENCE_S
    while child.poll() is None and time.monotonic() < end_s:
        if manifest.exists() and manifest.stat().st_mtime_ns != before:
            return
        time.sleep(0.02)


def wait_for_part(child: "subprocess.Popen[bytes]", out: Path) -> None:
    """Wait until the driver has written a part."""
    before, end_s = parts(out), time.monotonic() + PATIENCE_S
    while child.poll() is None and time.monotonic() < end_s and parts(out) <= before:
        time.sleep(0.02)


def parts(out: Path) -> set[str]:
    """Names of the files that hold points."""
    return {file.name for file in out.glob("points/*/part-*.parquet")}


def there(out: Path) -> int:
    """Points that are done."""
    try:
        return int(open_sweep(out).points.num_rows)
    except ResultsError:
        return 0


if __name__ == "__main__":
    main()
