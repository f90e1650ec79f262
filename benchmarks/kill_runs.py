"""``serve`` killed (``kill -9``) at random moments: what stands among the runs must be whole.

The same scenario runs into one folder again and again, each time killed after a random part of the
time that it last took; every second time, on average, the folder is removed first. After each kill
every run that is there is opened and all its tables are read and compared by digest with the
undisturbed ones. Ends with 1 if any is not whole, or if the last run, which is not killed, leaves
anything beside it.

    python -m benchmarks.kill_runs [--seed 0] [--kills 50] [--requests 20000]
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from corsair_sim import open_run


def main() -> int:
    """Print a line for each kill and the totals."""
    wanted = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--kills", type=int, default=50)
    wanted.add_argument("--requests", type=int, default=20_000)
    words = wanted.parse_args()
    chance = random.Random(words.seed)
    with tempfile.TemporaryDirectory() as root:
        first, out = Path(root) / "first", Path(root) / "runs"
        serve(first, words.requests, None)
        lasts_s, (whole,) = serve(first, words.requests, None), runs(first)
        stood = killed = bad = 0
        while killed < words.kills:
            if chance.random() < 0.5:
                shutil.rmtree(out, ignore_errors=True)
            after_s = chance.uniform(0, lasts_s)
            took_s = serve(out, words.requests, after_s)
            killed, lasts_s = killed + (took_s == 0), took_s or lasts_s
            found = runs(out)
            bad += any(run != whole for run in found)
            stood += bool(found)
            print(f"  {killed}: after {after_s:.2f} s, {len(found)} run there", flush=True)
        serve(out, words.requests, None)
        left = [path.name for path in out.iterdir() if path.name != whole[0]]
        print(
            f"seed {words.seed}: {killed} killed while they ran, a run stood after {stood}, "
            f"not whole {bad}, left at last {left}"
        )
    return int(bool(bad or left))


def serve(out: Path, requests: int, kill_after_s: float | None) -> float:
    """Run the bundled scenario into a folder; seconds that it took, 0 if it was killed."""
    begun_s = time.monotonic()
    command = [sys.executable, "-m", "corsair_sim", "serve", "-q", "--out", str(out)]
    command += ["--set", f"workload.synthetic.requests={requests}", "--set", "store.steps=true"]
    with subprocess.Popen(command, start_new_session=True) as child:
        try:
            child.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            return 0.0
    if child.returncode:
        raise SystemExit(f"serve ended with {child.returncode}")
    return time.monotonic() - begun_s


def runs(out: Path) -> list[tuple[str, dict[str, str]]]:
    """Every run that is there: its id, and the digest of each table, all of which are read."""
    found = []
    for folder in sorted(out.glob("[!.]*")):
        run = open_run(folder)
        tables = {name: str(run.manifest["tables"][name]["sha256"]) for name in run.tables}
        for name in tables:
            run.table(name)  # compares the file with its digest
        found.append((run.run_id, tables))
    return found


if __name__ == "__main__":
    sys.exit(main())
