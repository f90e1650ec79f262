"""Mutants of pricing, scheduling and replay: which of them the tests notice.

``python -m benchmarks.mutants --results FILE`` draws ``--count`` mutants by ``--seed``, as many of
each area. For each, the tests that reach its function run until one fails: first those that noticed
one of that file, then the area's own, the fastest first, ``--budget`` seconds of the CPU at most.
One process imports and collects all, kernels as plain Python; each mutant is a fork of it, in which
the function's code is replaced. FILE keeps a line for each mutant, so that a second run goes on;
FILE.reach keeps which tests reach what, and how long each takes (measured first, some minutes).
``--again`` has survivors meet more tests. Tests that start processes do not see a mutant there;
property tests draw 20 examples. Left out: tests over 12 s, those of Ray, studies and commands.
"""

import argparse
import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import _lru_cache_wrapper, partial
from importlib import import_module
from pathlib import Path
from random import Random
from types import CodeType, FrameType, FunctionType
from typing import Any

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
os.environ.setdefault("CORSAIR_SIM_EXAMPLES", "20")

import pytest

from benchmarks.code_mutations import Mutant, mutants_of, mutated_code

ROOT = Path(__file__).resolve().parents[1]
AREAS = {
    "pricing": ("cluster/perf_model",),
    "scheduling": ("cluster/serving",),
    "replay": ("cluster/replay",),
}
TESTS = (
    "tests/cluster", "tests/validation", "--ignore=tests/cluster/actors",
    "--ignore=tests/cluster/studies", "--ignore-glob=*/test_commands_*",
)  # fmt: skip
OWN = {"pricing": "/perf_model/", "scheduling": "/serving/", "replay": "/replay/"}
"""Folders of tests that come first."""
LONGEST_S = 12.0
"""CPU seconds of a test that is still used."""
MEMORY_BYTES = 4 * 10**9
"""A mutant that allocates more than this beyond its start gets a MemoryError."""


def sample(count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Area and mutant, areas in turn: any part from the first on has as many of each."""
    rng, drawn = Random(seed), []
    for area, folders in AREAS.items():
        paths = sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))
        known = [m for p in paths for m in mutants_of(ROOT, p.relative_to(ROOT).as_posix())]
        drawn.append([(area, mutant) for mutant in rng.sample(known, -(-count // len(AREAS)))])
    return [each for turn in zip(*drawn, strict=True) for each in turn][:count]


class Runner:
    """Takes the place of pytest's loop over tests."""

    def __init__(self, wanted: argparse.Namespace) -> None:
        self.wanted = wanted
        self.results = Path(wanted.results)
        self.failed = ""

    def pytest_collection(self) -> None:
        """Before test modules are imported: their ``settings`` inherit from the profile."""
        from hypothesis import Phase, settings  # after pytest, which rewrites its asserts

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", phases=phases, database=None, derandomize=True)
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for folders in AREAS.values():
            for path in (p for each in folders for p in (ROOT / each).rglob("*.py")):
                import_module(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))
        kept = self.results.with_suffix(".reach")
        if not kept.is_file():
            kept.write_text(json.dumps(self._reach(session.items)))
        self._run(session.items, json.loads(kept.read_text()))
        return True

    def _reach(self, items: Sequence[pytest.Item]) -> dict[str, tuple[float, list[str]]]:
        """By test, its CPU seconds and the functions that it calls; one fork for each file."""
        by_file: dict[Path, list[pytest.Item]] = defaultdict(list)
        for item in items:
            by_file[item.path].append(item)
        found = {}
        for number, (path, tests) in enumerate(by_file.items()):
            text = forked(partial(self._traced, tests), 1800)
            found.update(json.loads(text or "{}"))
            print(f"{number + 1}/{len(by_file)} {path.name}: {len(found)}", flush=True)
        return found

    def _traced(self, items: Sequence[pytest.Item]) -> str:
        found = {}
        for item, after in zip(items, (*items[1:], None), strict=True):
            codes: set[CodeType] = set()
            began_s = time.process_time()
            with limited(LONGEST_S):
                sys.settrace(partial(_seen, codes))
                self.failed = ""
                run_item(item, after)
                sys.settrace(None)
            used_s = time.process_time() - began_s
            inside = [c for c in codes if c.co_filename.startswith(f"{ROOT}/cluster/")]
            if not self.failed and inside:
                found[item.nodeid] = (used_s, sorted({_key(code) for code in inside}))
        return json.dumps(found)

    def _run(self, items: Sequence[pytest.Item], reach: dict[str, Any]) -> None:
        functions, tests = functions_by_key(), {item.nodeid: item for item in items}
        killers: dict[str, Counter[str]] = defaultdict(Counter)
        rows = read_rows(self.results)
        for row in rows.values():
            killers[row["path"]][row["by"]] += 1
        for number, (area, mutant) in enumerate(sample(self.wanted.count, self.wanted.seed)):
            old = rows.get(mutant.name)
            if old and not (self.wanted.again and old["outcome"] == "survived"):
                continue
            key, known = f"{mutant.path}::{mutant.function}", killers[mutant.path]
            wanted = [name for name, (_, keys) in reach.items() if key in keys and name in tests]
            wanted.sort(key=lambda n: (-known[n], OWN[area] not in n, reach[n][0]))
            if old:  # the others have been run
                wanted = wanted[old["ran"] :]
            outcome = self._outcome(mutant, functions[key], wanted, reach, tests)
            if outcome["outcome"] == "survived":
                outcome["ran"] += old["ran"] if old else 0
                outcome["outcome"] = "survived" if outcome["ran"] else "not reached"
            known[outcome["by"]] += 1
            row = {"drawn": number, "area": area, **asdict(mutant), **outcome}
            with self.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(number, mutant.name, outcome, flush=True)

    def _outcome(
        self,
        mutant: Mutant,
        functions: list[FunctionType],
        wanted: list[str],
        reach: Any,
        tests: Any,
    ) -> dict[str, Any]:
        def child() -> str:
            try:
                code = mutated_code(ROOT, mutant)
                for function in functions:
                    function.__code__ = code
            except ValueError as error:  # other free variables
                return json.dumps({"outcome": "not made", "by": str(error)})
            spent_s, ran = 0.0, 0
            for name, after in zip(wanted, (*wanted[1:], ""), strict=False):
                limit_s = reach[name][0]
                if ran and spent_s + limit_s > self.wanted.budget:
                    break
                self.failed = ""
                with limited(2 + 6 * limit_s) as clock:
                    run_item(tests[name], tests.get(after))
                if self.failed:
                    late = "timeout" if clock.expired else "killed"
                    return json.dumps({"outcome": late, "by": name})
                spent_s, ran = spent_s + limit_s, ran + 1
            return json.dumps({"outcome": "survived", "by": "", "ran": ran})

        began_s = time.perf_counter()
        text = forked(child, 20 * self.wanted.budget)
        outcome = json.loads(text) if text else {"outcome": "timeout", "by": "its process"}
        return {**outcome, "seconds": round(time.perf_counter() - began_s, 2)}


def _seen(codes: set[CodeType], frame: FrameType, _event: str, _arg: object) -> None:
    codes.add(frame.f_code)


def run_item(item: pytest.Item, after: pytest.Item | None) -> None:
    """One test; what the one after it does not need is taken down."""
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


@dataclass(slots=True)
class Clock:
    """Of one test."""

    expired: bool = False


@contextmanager
def limited(seconds: float) -> Iterator[Clock]:
    """Fail the test that is running after so many seconds of the CPU."""

    def late(_number: int, _frame: Any) -> None:
        clock.expired = True
        pytest.fail("takes too long")

    clock = Clock()
    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.5)
    try:
        yield clock
    except BaseException as error:  # raised between two tests
        if not isinstance(error, pytest.fail.Exception):
            raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def forked(work: Callable[[], str], most_s: float) -> str:
    """What ``work`` returns in a fork of this process; nothing if it dies or takes too long."""
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    process = os.fork()
    if not process:
        _in_child(work, folder)
    until_s = time.perf_counter() + most_s
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        if time.perf_counter() > until_s:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            break
        time.sleep(0.02)
    answer = folder / "answer"
    text = answer.read_text() if answer.is_file() else ""
    shutil.rmtree(folder, ignore_errors=True)
    return text


def _in_child(work: Callable[[], str], folder: Path) -> None:
    try:
        os.setpgid(0, 0)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES,) * 2)
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        tempfile.tempdir = str(folder)
        os.environ.update(TMPDIR=str(folder), PYTEST_DEBUG_TEMPROOT=str(folder))
        for cached in (each for each in gc.get_objects() if isinstance(each, _lru_cache_wrapper)):
            if getattr(cached, "__module__", "").startswith("cluster"):
                cached.cache_clear()
        text = work()
        (folder / "answer").write_text(text)
    finally:
        os._exit(0)


def _key(code: CodeType) -> str:
    path = Path(code.co_filename).relative_to(ROOT).as_posix()
    return f"{path}::{code.co_qualname.partition('.<locals>')[0]}"


def functions_by_key() -> dict[str, list[FunctionType]]:
    """Outermost functions of the project, all objects that have their code."""
    found: dict[str, list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        code = each.__code__ if isinstance(each, FunctionType) else None
        if code is None or ".<locals>" in code.co_qualname:
            continue
        if code.co_filename.startswith(f"{ROOT}/cluster/"):
            found[_key(code)].append(each)
    return found


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The last row of each mutant, by its name."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {f"{row['path']}:{row['line']}:{row['number']}": row for row in rows}


def main() -> None:
    """Measure which tests reach what, then run the mutants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", required=True)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--again", action="store_true")
    wanted = parser.parse_args()
    os.chdir(ROOT)
    words = [*TESTS, "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not ray and not soak"]
    pytest.main([*words, "-s", "-p", "no:benchmark"], plugins=[Runner(wanted)])


if __name__ == "__main__":
    main()
