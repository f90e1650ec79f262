"""Fuzzing of every reader: mutated inputs must give a result or one clear error.

Each case takes a valid input, changes its structure or its bytes, and runs a command on it in a
forked process with limits of CPU time and memory. It fails with a traceback, an exit code other
than 0, 2 and 3, more than 5 s of CPU, or 1 GB, or if it hangs. Case N of a seed is the same on
every machine.

    python -m benchmarks.fuzz [--seed 0] [--cases 20000] [--minutes 60] [--first 0] [--only KIND]
        [--keep FOLDER]
"""

import argparse
import json
import os
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random

from benchmarks import mutations
from benchmarks.fuzz_inputs import KINDS, Kind, make_corpus
from cluster.commands.app import main as command

CPU_S, MEMORY_BYTES = 5.0, 10**9
STUCK_S = 120
"""A case that waits for something is ended by SIGALRM after this."""
OPTIONS = {
    "--tp": "4", "--pp": "2", "--replicas": "1", "--max-num-seqs": "8", "--top": "3",
    "--max-num-batched-tokens": "512", "--modes": "performance", "--weights": "mxint8",
    "--kv": "mxint8", "--slo": "tpot_s=0.01,ttft_s=0.2", "--objective": "tpot", "--load": "0.7",
}  # fmt: skip
WORDS = (
    "", "0", "-1", "1-99999999", "1-", "-", "4,8-4", "4-8", "1e9", "nan", "inf", "9" * 30,
    "9" * 5000, "²", "a=b", "tpot_s=", "tpot_s=nan", "=", "mxint4,mxint8", "x" * 3000, "offered",
    "auto", "\x1b[0m", ",",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one case."""

    code: int
    cpu_s: float
    memory_bytes: int
    said: str

    @property
    def fault(self) -> str:
        """Why it fails; empty: it does not."""
        if "Traceback" in self.said or "internal error" in self.said:
            return "traceback"
        if self.cpu_s > CPU_S:
            return f"{self.cpu_s:.1f} s of CPU"
        if self.memory_bytes > MEMORY_BYTES:
            return f"{self.memory_bytes / 1e6:.0f} MB"
        return "" if self.code in (0, 2, 3) else f"exit code {self.code}"


def main() -> int:
    """Run the cases, print every failing one and the totals; 1 if any fails."""
    wanted = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--cases", type=int, default=20_000)
    wanted.add_argument("--minutes", type=float, default=60.0)
    wanted.add_argument("--first", type=int, default=0)
    wanted.add_argument("--only", choices=tuple(KINDS))
    wanted.add_argument("--keep", type=Path, help="folder for the inputs of failing cases")
    words = wanted.parse_args()
    keep = words.keep.resolve() if words.keep else None
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        corpus, work = Path(root) / "corpus", Path(root) / "case"
        corpus.mkdir()
        with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
            make_corpus(corpus)
            _import_commands()
        begun, codes, faults, worst = time.monotonic(), Counter[int](), 0, [0.0, 0]
        for number in range(words.first, words.first + words.cases):
            if time.monotonic() - begun > words.minutes * 60:
                break
            name, argv = prepare(corpus, work, f"{words.seed}-{number}", words.only)
            outcome = run(work / KINDS[name].folder, argv)
            codes[outcome.code] += 1
            worst = [max(worst[0], outcome.cpu_s), max(worst[1], outcome.memory_bytes)]
            if outcome.fault:
                faults += 1
                print(f"case {number} ({name}): {outcome.fault}: {shlex.join(argv)}")
                print("    " + "\n    ".join(outcome.said.splitlines()[-5:])[-1500:], flush=True)
                if keep:
                    shutil.copytree(work, keep / str(number), dirs_exist_ok=True)
            shutil.rmtree(work)
        spent = time.monotonic() - begun
        done = sum(codes.values())
        print(
            f"seed {words.seed}: {done:,} cases in {spent:,.0f} s "
            f"({done / spent * 3600:,.0f} an hour), exit codes {dict(sorted(codes.items()))}, "
            f"{faults} failed; "
            f"most CPU {worst[0]:.1f} s, most memory {worst[1] / 1e6:,.0f} MB"
        )
    return 1 if faults else 0


def prepare(corpus: Path, work: Path, seed: str, only: str | None) -> tuple[str, list[str]]:
    """Write the changed input of a case; return its kind and command."""
    rng = Random(seed)
    name = rng.choice(list(KINDS))
    if only:
        name = only
    kind = KINDS[name]
    shutil.copytree(corpus / kind.folder, work / kind.folder)
    if name == "model":
        shutil.copytree(corpus / "served", work / "served")
    changed = _change(rng, kind, work / kind.folder) if kind.file else ""
    argv = [word.format(changed) for word in shlex.split(rng.choice(kind.commands))]
    if name == "plan options":
        argv += _options(rng)
    if name == "settings":
        argv += ["--set", _setting(rng, work / kind.folder / "served.json")]
    return name, argv


def _change(rng: Random, kind: Kind, folder: Path) -> str:
    """Change one file of the folder; return its name."""
    file = rng.choice(sorted(path for path in folder.glob(kind.file) if path.is_file()))
    changed = rng.choice(kind.changes)(rng, file.read_bytes())
    file.write_bytes(mutations.raw(rng, changed) if rng.random() < 0.1 else changed)
    return str(file.relative_to(folder))


def _options(rng: Random) -> list[str]:
    """Small values of the plan's options, of which one or two are hostile."""
    chosen = {**OPTIONS}
    for name in rng.sample(list(OPTIONS), rng.choice((1, 1, 2))):
        chosen[name] = rng.choice(WORDS)
    return [f"{name}={word}" for name, word in chosen.items()]


def _setting(rng: Random, scenario: Path) -> str:
    """One ``--set`` of a key of the scenario, or near one."""
    known = list(mutations.paths(json.loads(scenario.read_bytes())))
    key = ".".join(map(str, rng.choice(known)))
    key = key if rng.random() < 0.8 else mutations.raw(rng, key.encode()).decode(errors="replace")
    value = rng.choice((rng.choice(WORDS), json.dumps(rng.choice(mutations.NASTY))))
    return f"{key}={value}"


def run(folder: Path, argv: list[str]) -> Outcome:
    """Run one command in a forked process, in ``folder``."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            _in_child(folder, argv, output.fileno())
        _, status, used = os.wait4(child, 0)
        output.seek(0)
        said = output.read(1 << 20).decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return Outcome(
        code=code,
        cpu_s=used.ru_utime + used.ru_stime,
        memory_bytes=used.ru_maxrss * 1024,
        said=said,
    )


def _in_child(folder: Path, argv: list[str], output: int) -> None:
    """Run the command and leave the process, whatever happens."""
    code = 1
    try:
        os.chdir(folder)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        signal.alarm(STUCK_S)
        limit = int(2 * CPU_S)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        code = command(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _import_commands() -> None:
    """Import what commands import lazily, so that cases pay for their own work only.

    Nothing is drawn here: the threads that draw would not be there after a fork.
    """
    import_module("altair")
    import_module("vl_convert")
    for words in (
        "check served/served.json", "models show llama-3.1-8b", "topology show",
        "hardware show corsair", "formats measure array/a.npy", "trace describe traces/azure.csv",
        "compare ran/served ran/served",
        "sweep status swept/made", "validate --data measured/points.csv",
    ):  # fmt: skip
        code = command([*words.split(), *(() if words.startswith("formats") else ("-q",))])
        if code not in (0, 2):
            raise SystemExit(f"a valid input fails: {words}")


if __name__ == "__main__":
    sys.exit(main())
