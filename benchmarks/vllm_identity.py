"""Compares both serving engines with vLLM's own scheduler on the same problems.

    python benchmarks/vllm_identity.py [FILE ...]

A FILE holds one problem a line, as JSON, plain or gzipped; the README beside the recorded ones
(``../shared/data/vllm``) has the layout. Without any, all files of that folder are read. With one
stage both engines are to equal vLLM in every column and every step. With several they follow rules
of their own (``cluster/serving/DESIGN.md``): the times to the first token and to the last are held
beside vLLM's, per number of stages. Ends with 1 where a bound is missed or the engines differ, with
2 where a file cannot be read.
"""

import argparse
import gzip
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.linear_prices import linear_prices
from cluster.perf_model.tables import PHASE, STEP, PriceTables, Records
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.reference import serve_reference
from corsair_common.names import Status
from corsair_common.units import Integers

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "vllm"
COLUMNS = (
    "arrival_ps",
    "first_scheduled_ps",
    "first_token_ps",
    "finish_ps",
    "preemptions",
    "cached_tokens",
    "status",
)
STEPS = ("start_ps", "end_ps", "tokens", "prefill_tokens")
LIMITS = ("max_num_seqs", "max_num_batched_tokens", "block_size", "blocks", "max_model_len")
SUM_BOUNDS = (0.8, 1.0)
P99_BOUNDS = (0.7, 1.25)
GZIP_MAGIC = b"\x1f\x8b"

Engine: TypeAlias = Callable[..., Served]


class ProblemError(ValueError):
    """A file that is missing or of another form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A recorded problem of vLLM and its outcome."""

    case: str
    """Its regime and a number, as ``light-0``."""
    arrivals: Arrivals
    prices: PriceTables
    limits: Limits
    expected: dict[str, Integers]
    """[n] by COLUMNS."""
    steps: Integers
    """[steps, 4] in the order of STEPS."""

    @property
    def regime(self) -> str:
        return self.case.rpartition("-")[0] or self.case


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One problem after both engines have served it."""

    problem: Problem
    served: Served
    """By the kernel."""
    unlike_vllm: tuple[str, ...]
    """Columns that differ, and ``steps``."""
    unlike_reference: tuple[str, ...]


# reading ----------------------------------------------------------------------------------------


def read_problems(path: Path) -> Iterator[Problem]:
    """The problems of a file in order.

    Raises ProblemError where it is missing, empty or of another form.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw).decode()
    except FileNotFoundError:
        raise ProblemError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as fault:
        raise ProblemError(f"{path}: cannot be read: {fault}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ProblemError(f"{path}: holds no problem")
    for number, line in lines:
        try:
            yield problem_of(json.loads(line))
        except json.JSONDecodeError as fault:
            raise ProblemError(f"{path}, line {number}: is not JSON: {fault}") from None
        except KeyError as fault:
            raise ProblemError(f"{path}, line {number}: the field {fault} is missing") from None
        except (ValueError, TypeError, OverflowError) as fault:
            raise ProblemError(f"{path}, line {number}: {fault}") from None


def problem_of(row: Any) -> Problem:
    """One line of a file as a problem."""
    if not isinstance(row, dict):
        raise TypeError(f"a problem must be an object, got {type(row).__name__}")
    limits = Limits(
        **{name: row[name] for name in LIMITS},
        concurrency=row["concurrency"],
        prefix_caching=row["prefix_caching"],
        long_prefill_token_threshold=row.get("long_prefill_token_threshold", 0),
        async_scheduling=row.get("async_scheduling", False),
    )
    keys = [np.array(each, np.int64) for each in row["block_keys"] or [[]] * len(row["arrival_ps"])]
    flat = np.concatenate([np.zeros(0, np.int64), *keys])
    arrivals = Arrivals(
        arrival_ps=np.array(row["arrival_ps"], np.int64),
        prompt_tokens=np.array(row["prompt_tokens"], np.int64),
        output_tokens=np.array(row["output_tokens"], np.int64),
        router_choice=np.zeros(0, np.int64),
        key_offsets=np.cumsum([0, *map(len, keys)]).astype(np.int64),
        keys=flat,
        key_count=int(flat.max(initial=-1)) + 1,
    )
    expected = {name: np.array(row["expected"][name], np.int64) for name in COLUMNS}
    for name, column in expected.items():
        if column.shape != arrivals.arrival_ps.shape:
            raise ValueError(f"expected.{name} must be {len(arrivals.arrival_ps)} integers")
    return Problem(
        case=str(row["case"]),
        arrivals=arrivals,
        prices=linear_prices(
            np.array([row["step_ps"]], np.int64),
            limits.max_num_seqs,
            np.zeros((1, row["stages"]), np.int64),
            row["return_ps"],
        ),
        limits=limits,
        expected=expected,
        steps=np.array(row["steps"], np.int64).reshape(-1, len(STEPS)),
    )


# comparing --------------------------------------------------------------------------------------


def run_and_log(engine: Engine, problem: Problem) -> tuple[Served, Records, Records]:
    """An engine's outcome of a problem, its steps, and its phases."""
    steps, phases = [np.zeros(0, STEP)], [np.zeros(0, PHASE)]
    served = engine(
        problem.arrivals,
        problem.prices,
        problem.limits,
        on_steps=lambda window: steps.append(window.copy()),
        on_log=lambda _, window: phases.append(window.copy()),
    )
    return served, np.concatenate(steps), np.concatenate(phases)


def compare(problem: Problem) -> Compared:
    """Serve it with both engines and report differences.

    Raises ValueError for an invalid problem.
    """
    served, steps, phases = run_and_log(serve, problem)
    other, other_steps, other_phases = run_and_log(serve_reference, problem)
    unlike_vllm = [
        name
        for name in COLUMNS
        if not np.array_equal(getattr(served, name), problem.expected[name])
    ]
    taken = np.stack([steps[name] for name in STEPS], axis=1)
    if problem.prices.stages == 1 and not np.array_equal(taken, problem.steps):
        unlike_vllm.append("steps")
    unlike_reference = [
        field.name
        for field in fields(Served)
        if not np.array_equal(getattr(served, field.name), getattr(other, field.name))
    ]
    if not np.array_equal(steps, other_steps):
        unlike_reference.append("steps")
    if not np.array_equal(phases, other_phases):
        unlike_reference.append("phases")
    return Compared(
        problem=problem,
        served=served,
        unlike_vllm=tuple(unlike_vllm),
        unlike_reference=tuple(unlike_reference),
    )


def ratios(pipelines: Sequence[Compared]) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Name, ratio to vLLM's and bounds: sum and p99 of both times over all completed requests."""
    for name, column in (("TTFT", "first_token_ps"), ("end to end", "finish_ps")):
        ours = np.concatenate([stays_ps(vars_of(each.served), column) for each in pipelines])
        vllms = np.concatenate([stays_ps(each.problem.expected, column) for each in pipelines])
        if not len(ours) or not len(vllms):
            return
        yield f"sum of {name}", ours.sum() / vllms.sum(), SUM_BOUNDS
        yield f"p99 of {name}", np.percentile(ours, 99) / np.percentile(vllms, 99), P99_BOUNDS


def vars_of(served: Served) -> dict[str, Integers]:
    """Its columns that vLLM has too."""
    return {name: getattr(served, name) for name in COLUMNS}


def stays_ps(columns: dict[str, Integers], until: str) -> Integers:
    """From arrival to first token or finish, of completed requests."""
    done = columns["status"] == Status.COMPLETED
    return np.asarray((columns[until] - columns["arrival_ps"])[done])


# printing ---------------------------------------------------------------------------------------


def report(path: Path) -> bool:
    """Print the comparison of a file; true if all bounds hold."""
    found = []
    for problem in read_problems(path):
        try:
            found.append(compare(problem))
        except (ValueError, TypeError) as fault:
            raise ProblemError(f"{path}, problem {problem.case}: {fault}") from None
    print(path.name)
    good = report_regimes(found)
    for stages in sorted({each.problem.prices.stages for each in found} - {1}):
        good &= report_ratios(
            stages, [each for each in found if each.problem.prices.stages == stages]
        )
    return good


def report_regimes(found: Iterable[Compared]) -> bool:
    """Print how many problems of each kind agree, and where others differ."""
    requested: Counter[tuple[int, str]] = Counter()
    equal: Counter[tuple[int, str]] = Counter()
    faults = []
    for each in found:
        kind = each.problem.prices.stages, each.problem.regime
        requested[kind] += 1
        equal[kind] += not each.unlike_vllm
        # a pipeline follows our own rules, but refuses the same requests
        binding = each.unlike_vllm if kind[0] == 1 else set(each.unlike_vllm) & {"status"}
        if binding:
            faults.append(f"{each.problem.case} differs from vLLM in {', '.join(binding)}")
        if each.unlike_reference:
            names = ", ".join(each.unlike_reference)
            faults.append(f"{each.problem.case}: kernel and reference differ in {names}")
    for kind, count in requested.items():
        stages = f"{kind[0]} stage{'s' if kind[0] > 1 else ''}"
        print(f"  {stages:<10} {kind[1]:<14} {equal[kind]:>3} of {count:>3} equal")
    for fault in faults:
        print(f"  FAULT: {fault}")
    return not faults


def report_ratios(stages: int, pipelines: Sequence[Compared]) -> bool:
    """Print the times of all problems with so many stages over vLLM's; true if within bounds."""
    good = True
    for name, ratio, (least, most) in ratios(pipelines):
        within = bool(least <= ratio <= most)
        good &= within
        mark = "" if within else "  FAULT: out of bounds"
        print(f"  {stages} stages: {name:<17} {ratio:.3f} of vLLM's ({least} to {most}){mark}")
    return good


def main(argv: Sequence[str] | None = None) -> int:
    """Report on every file; the exit code as the page's head says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", nargs="*", type=Path, help=f"default: all of {DATA}")
    paths = parser.parse_args(argv).file or sorted(DATA.glob("*.jsonl.gz"))
    try:
        if not paths:
            raise ProblemError(f"{DATA}: holds no *.jsonl.gz; name a file")
        good = [report(path) for path in paths]
    except ProblemError as fault:
        print(f"vllm_identity: {fault}", file=sys.stderr)
        return 2
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
