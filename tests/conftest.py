"""Problems for the serving engines: tables made by hand, and random ones for hypothesis."""

import builtins
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.tables import KIND, KINDS, STEP, PriceTables, Records, expanded
from cluster.scenario.routers import ROUTERS
from cluster.serving.interface import Arrivals, Limits, Served, Speculation
from corsair_common.names import STATE
from corsair_common.units import NEVER, Integers

BY_CLASS = (
    *("linear_ps", "collective_ps", "floor_ps", "send_ps", "head_ps", "attention", "far_block_ps"),
    *("linear_by_bound_ps", "head_by_bound_ps", "collective_bytes", "send_bytes"),
    *("token_counts", "head_counts", "attention_counts"),
)
"""Price tables whose first axis is the price class."""

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
Engine: TypeAlias = Callable[..., Served]

RAY = "tests/cluster/actors/"
PRODUCT = tuple(
    f"{Path(__file__).resolve().parents[1] / package}{os.sep}"
    for package in ("cluster", "topology", "workloads", "results", "corsair_common", "corsair_sim")
)
"""Folders of product code."""

settings.register_profile("any machine", deadline=None)  # a busy one is slow, which is no fault
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Take signals that a shell has what it runs in the background ignore: tests send them."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a Ray goes first, then the long ones: none of them shall be the last to end."""
    items.sort(key=lambda item: (_scope(item.nodeid) != RAY, item.path.suffix != ".ipynb"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread over processes by file; all that needs a Ray goes to one of them.

    Names of xdist's own groups do not reach it with pytest 9.2, which makes ids of nodes elsewhere.
    """
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _scope
    return scheduler


@pytest.fixture(autouse=True, scope="session")
def _floats_are_summed_exactly() -> Iterator[None]:
    """Refuse Python's ``sum`` of floats in product code: since 3.12 it has other last digits.

    ``math.fsum`` and NumPy have the same ones in every version.
    """
    python_sum = builtins.sum

    def checked(values: Iterable[Any], /, start: Any = 0) -> Any:
        terms = list(values)
        frame = sys._getframe(1)
        if frame.f_code.co_filename.startswith(PRODUCT):
            floats = [each for each in (start, *terms) if isinstance(each, float)]
            assert not floats, f"{frame.f_code.co_filename}:{frame.f_lineno}: use math.fsum"
        return python_sum(terms, start)

    builtins.sum = checked
    yield
    builtins.sum = python_sum


def _scope(nodeid: str) -> str:
    """The folder of the tests on Ray, else the file."""
    path = nodeid.partition("::")[0]
    return RAY if path.startswith(RAY) else path


@pytest.fixture(scope="session")
def linear_tables() -> Callable[[Integers, int], PriceTables]:
    """One stage on one replica, whose work of ``t`` tokens lasts ``linear_ps[t]`` and no more."""
    return lambda linear_ps, max_num_seqs: blank_tables(
        linear_ps[np.newaxis, :], max_num_seqs, np.zeros((1, 1), np.int64)
    )


@pytest.fixture(scope="session")
def constant_tables() -> Callable[..., PriceTables]:
    """Stage k works ``stage_ps[k]`` on a step of 1 to ``budget`` tokens, whatever is in it."""

    def build(stage_ps: list[int], replicas: int = 1, budget: int = 16) -> PriceTables:
        linear_ps = np.array(stage_ps, np.int64)[:, np.newaxis] * (np.arange(budget + 1) > 0)
        return blank_tables(linear_ps, 9, np.tile(np.arange(len(stage_ps)), (replicas, 1)))

    return build


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Write a whole run of ``(root, manifest, tables)`` and return its folder.

    ``tables`` maps a table's name to its columns, or to an iterable of parts; ``declared`` are the
    tables of another device than a DIMC.
    """

    from results.schema import TABLES
    from results.store import RunWriter  # Arrow: only for those who write

    def write(
        root: Path,
        manifest: Mapping[str, object],
        tables: Mapping[str, Any],
        declared: Mapping[str, Any] = TABLES,
    ) -> Path:
        with RunWriter(root, str(manifest["run_id"]), declared) as writer:
            for name, parts in tables.items():
                writer.extend(name, [parts] if isinstance(parts, Mapping) else parts)
            return writer.commit(manifest)

    return write


@pytest.fixture(scope="session")
def serving_problems() -> st.SearchStrategy[Problem]:
    """Traffic, tables and limits that exercise every rule of serving."""
    return problems()


@pytest.fixture(scope="session")
def starved_problems() -> st.SearchStrategy[Problem]:
    """Fewer sequences than slots, budgets of a token or so, hardly a block to spare."""
    return starved()


@pytest.fixture(scope="session")
def quiet_problems() -> st.SearchStrategy[Problem]:
    """A few long answers at a time."""
    return quiet()


@pytest.fixture(scope="session")
def drafting_problems() -> st.SearchStrategy[Problem]:
    """The same with drafts that are verified, and made on the same cards or on others, or free."""
    return drafting()


@st.composite
def drafting(draw: st.DrawFn) -> Problem:
    """Add drafts, and the price of making them, to a problem."""
    arrivals, prices, limits = draw(problems() | starved() | quiet())
    drafts = draw(st.integers(1, 5))
    slots = draw(st.sampled_from([0, 1])) * (limits.max_num_batched_tokens > 1)
    draws = draw(st.lists(st.integers(0, drafts), min_size=1, max_size=7))
    limits = replace(
        limits,
        async_scheduling=False,
        speculation=Speculation(
            num_speculative_tokens=drafts,
            num_lookahead_tokens=draw(st.sampled_from([0, drafts])),
            max_num_new_slots_for_drafting=slots,
            accepted=np.array(draws, np.int64),
        ),
    )
    count = len(arrivals.prompt_tokens)
    arrivals = replace(arrivals, first_draw=np.arange(count) * draw(st.sampled_from([0, 1, 5])))
    seats = limits.max_num_seqs * (1 + drafts)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    prices = random_tables(rng, replace(limits, max_num_seqs=seats), prices.stages, prices.replicas)
    if draw(st.booleans()):
        prices = drafted(prices, draw(st.integers(0, 3)), apart=draw(st.booleans()))
        prices = replace(prices, draft_kinds=draw(st.integers(0, len(prices.kinds))))
    return arrivals, prices, limits


def drafted(prices: PriceTables, like: int, *, apart: bool) -> PriceTables:
    """The same with a class of drafting, which costs as another class does."""
    own: dict[str, Any] = {
        name: np.concatenate([table, table[like : like + 1]])
        for name in BY_CLASS
        for table in [getattr(prices, name)]
    }
    last = np.full((prices.replicas, 1), len(prices.linear_ps))
    classes = np.hstack([prices.stage_class, last])
    return replace(prices, **own, stage_class=classes, draft_stages=1, draft_apart=apart)


def blank_tables(linear_ps: Integers, max_num_seqs: int, stage_class: Integers) -> PriceTables:
    """Tables in which only linear layers take time."""
    from benchmarks.linear_prices import linear_prices  # compiled: only for those who serve

    return linear_prices(linear_ps, max_num_seqs, stage_class)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw sizes and requests (they shrink well), and the tables from a seed (they need not).

    Every other problem is crowded: few seats are free, and fewer blocks.
    """
    crowded = draw(st.booleans())
    limits = draw(crowded_limits() if crowded else any_limits())
    requests = draw(
        st.lists(
            request_choices(16 if crowded else min(300, 8 * limits.max_num_batched_tokens)),
            min_size=draw(st.sampled_from([4, 10, 20] if crowded else [1, 8, 16])),
            max_size=24,
        )
    )
    sizes = st.integers(1, 2 if crowded else 4)
    spare = draw(st.integers(-1, 8) if crowded else st.sampled_from([-1, 0, 2, 30, 1000]))
    return draw(with_room(limits, requests, (draw(sizes), draw(sizes)), spare))


@st.composite
def starved(draw: st.DrawFn) -> Problem:
    """Draw a problem that is short of everything at once."""
    stages = draw(st.integers(1, 5))
    limits = Limits(
        max_num_seqs=draw(st.integers(1, stages + 1)),
        max_num_batched_tokens=draw(st.integers(1, 4)),
        block_size=draw(st.integers(1, 2)),
        blocks=1,
        max_model_len=1000,
        router=draw(st.sampled_from(ROUTERS)),
        concurrency=draw(st.sampled_from([0, 0, 5])),
        prefix_caching=draw(st.booleans()),
    )
    requests = draw(st.lists(request_choices(8), min_size=3, max_size=14))
    machine = stages, draw(st.integers(1, 2))
    return draw(with_room(limits, requests, machine, draw(st.integers(0, 2))))


@st.composite
def quiet(draw: st.DrawFn) -> Problem:
    """Draw long answers with pauses between them, so that cycles of steps repeat."""
    limits = replace(
        draw(any_limits()),
        max_num_batched_tokens=draw(st.sampled_from([2, 8, 64])),
        concurrency=draw(st.sampled_from([0, 0, 0, 1, 2])),
    )
    sparse = request_choices(40).map(lambda row: (37 * row[0], row[1], 30 * row[2], *row[3:]))
    requests = draw(st.lists(sparse, min_size=1, max_size=8))
    machine = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    return draw(with_room(limits, requests, machine, draw(st.sampled_from([0, 3, 300]))))


@st.composite
def with_room(
    draw: st.DrawFn,
    limits: Limits,
    requests: list[tuple[int, ...]],
    machine: tuple[int, int],
    spare: int,
) -> Problem:
    """Requests on so many stages and replicas, and blocks for the longest and a few to spare."""
    stages, replicas = machine
    arrivals = lay_out(requests, limits, replicas)
    needs = -(-(arrivals.prompt_tokens + arrivals.output_tokens - 1) // limits.block_size)
    blocks = max(1, int(needs.max()) + spare)
    limits = replace(
        limits,
        blocks=blocks,
        sram_blocks=draw(st.sampled_from([2**62, 2**62, 0, blocks // 3])),
        async_scheduling=stages == 1 and draw(st.booleans()),
        long_prefill_token_threshold=draw(st.sampled_from([0, 0, 1, 3, 7])),
    )
    if not limits.prefix_caching and draw(st.booleans()):
        limits = replace(limits, windowed=draw(windowed_room(blocks)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if limits.concurrency == 0 and draw(st.booleans()):
        arrivals = in_sessions(arrivals, limits, rng)
    return arrivals, random_tables(rng, limits, stages, replicas), limits


def in_sessions(arrivals: Arrivals, limits: Limits, rng: np.random.Generator) -> Arrivals:
    """Half of the requests follow an earlier one; keys of some go on into their answers."""
    count = len(arrivals.arrival_ps)
    before = (rng.random(count) * np.arange(count)).astype(np.int64)
    follows = (rng.random(count) < 0.5) & (np.arange(count) > 0)
    more = np.minimum(
        (arrivals.prompt_tokens + arrivals.output_tokens - 1) // limits.block_size
        - np.diff(arrivals.key_offsets),
        rng.integers(0, 3, count),
    ).clip(0)
    if not limits.prefix_caching or not arrivals.key_count:
        more[:] = 0
    return replace(
        arrivals,
        previous=np.where(follows, before, NEVER),
        delay_ps=rng.choice([0, 0, 3, 40, 900], count),
        keys=np.insert(
            arrivals.keys,
            np.repeat(arrivals.key_offsets[1:], more),
            rng.integers(0, max(1, arrivals.key_count), more.sum()),
        ),
        key_offsets=arrivals.key_offsets + np.concatenate([[0], np.cumsum(more)]),
    )


@st.composite
def windowed_room(draw: st.DrawFn, blocks: int) -> KvCapacity:
    """Room for about ``blocks`` in every one of up to three kinds of layers, under constraints."""
    windows = draw(st.lists(st.sampled_from([0, 1, 2, 5, 16, 64, STATE]), min_size=1, max_size=3))
    kinds = range(len(windows))
    units = draw(
        st.lists(
            st.lists(st.integers(1, 9), min_size=len(kinds), max_size=len(kinds)),
            min_size=1,
            max_size=3,
        )
    )
    room = [draw(st.sampled_from([sum(row) * blocks, max(row) * blocks])) for row in units]
    return KvCapacity(
        windows=np.array(windows, np.int64),
        block_units=np.array(units, np.int64),
        room_units=np.array(room, np.int64),
        sram_units=draw(st.sampled_from([2**62, 2**62, 0, room[0] // 3])),
    )


def any_limits() -> st.SearchStrategy[Limits]:
    """Everything but the size of the pool, which hangs on the requests."""
    return st.builds(
        Limits,
        max_num_seqs=st.integers(1, 8) | st.sampled_from([12, 20]),
        max_num_batched_tokens=st.integers(1, 8) | st.sampled_from([20, 64, 150, 300]),
        block_size=st.sampled_from([1, 2, 3, 4, 5, 16, 64]),
        blocks=st.just(1),
        max_model_len=st.sampled_from([1000, 1000, 1000, 20]),
        router=st.sampled_from(ROUTERS),
        concurrency=st.sampled_from([0, 0, 1, 3, 50]),
        ready_ps=st.sampled_from([0, 0, 30]),
        prefix_caching=st.booleans(),
    )


def crowded_limits() -> st.SearchStrategy[Limits]:
    """Small blocks and a small budget, and seats for more than both will serve."""
    return st.builds(
        Limits,
        max_num_seqs=st.integers(4, 16),
        max_num_batched_tokens=st.integers(2, 12),
        block_size=st.integers(1, 3),
        blocks=st.just(1),
        max_model_len=st.just(1000),
        router=st.sampled_from(ROUTERS),
        concurrency=st.sampled_from([0, 0, 20]),
        prefix_caching=st.booleans(),
    )


def request_choices(longest: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Gap to the one before, prompt, output, replica, whose prefix is shared how far, and tokens
    whose KV it brings (cut to all but the last of its prompt)."""
    return st.tuples(
        st.sampled_from([0, 0, 0, 0, 1, 7, 50, 400]),
        st.integers(1, longest) | st.integers(1, min(longest, 8)),
        st.integers(1, 10) | st.just(1),
        st.integers(0, 3),
        st.integers(0, 1),
        st.integers(0, 6),
        st.integers(0, 1),
        st.sampled_from([0, 0, 1, 5, 10**6]),
    )


def lay_out(requests: list[tuple[int, ...]], limits: Limits, replicas: int) -> Arrivals:
    """Columns of the requests; a key stands for a whole prefix: a family's, then a branch's."""
    gap, prompt, output, choice, family, split, branch, brought = np.array(requests, np.int64).T
    ids: dict[tuple[int, ...], int] = {}
    keys: list[int] = []
    offsets = [0]
    for tokens, *tree in zip(prompt.tolist(), family, split, branch, strict=True):
        for block in range(tokens // limits.block_size):
            own = (tree[0], block) if block < tree[1] else (*tree, block)
            keys.append(ids.setdefault(tuple(map(int, own)), len(ids)))
        offsets.append(len(keys))
    return Arrivals(
        arrival_ps=np.cumsum(gap),
        prompt_tokens=prompt,
        output_tokens=output,
        router_choice=choice % replicas,
        key_offsets=np.array(offsets, np.int64),
        keys=np.array(keys, np.int64),
        key_count=len(ids),
        carried_tokens=np.minimum(brought, prompt - 1),
    )


def random_tables(
    rng: np.random.Generator, limits: Limits, stages: int, replicas: int
) -> PriceTables:
    """Small integers everywhere, so that many things happen at one time.

    Classes 0 and 1 price last stages (LM head, nothing to send), 2 and 3 those before.
    """
    shape = (4, limits.max_num_batched_tokens + 1)
    last = np.arange(4)[:, np.newaxis] < 2
    stage_class = rng.integers(2, 4, (replicas, stages))
    stage_class[:, -1] = rng.integers(0, 2, replicas)

    def small(size: tuple[int, ...]) -> Integers:
        drawn = rng.integers(0, rng.choice([1, 2, 4, 40]), size)
        drawn[..., 0] = 0
        return drawn

    linear_ps = small(shape)
    linear_ps[:, 1:] += 1
    head_ps = np.where(last, small((4, limits.max_num_seqs + 1)), 0)
    return replace(
        blank_tables(linear_ps, limits.max_num_seqs, stage_class),
        collective_ps=small(shape),
        floor_ps=small(shape),
        send_ps=np.where(last, 0, small(shape)),
        head_ps=head_ps,
        return_ps=rng.integers(0, rng.choice([1, 20]), replicas),
        ahead=bool(rng.integers(0, 2)),
        **random_kinds(rng),
    )


def random_kinds(rng: np.random.Generator) -> dict[str, Any]:
    """Up to KINDS kinds of layers, of which any may be absent, and what each costs in 4 classes."""
    from cluster.perf_model.attention import ATTENTION

    count = int(rng.integers(1, KINDS + 1))
    kinds = np.zeros(count, KIND)
    kinds["window"][1:] = rng.choice([0, 1, 64, 100, 300, STATE], count - 1)
    picked = rng.choice([0, 0, 1, 64, 130], count)
    kinds["picked"][1:] = np.where(kinds["window"] == 0, picked, 0)[1:]
    kinds["clocks_per_query"] = rng.choice([1, 8, 32, 100], count)
    kinds["clocks_per_pass"] = rng.choice([64, 64, 96], count)
    attention = np.zeros((4, 2 * count), ATTENTION)
    for name in ATTENTION.names or ():
        attention[name] = rng.integers(0 if name[1] == "_" else 1, 6, attention.shape)
    attention["kind"] = np.arange(2 * count) // 2
    attention["layers"] = rng.integers(0, 3, attention.shape)
    attention["ps_per_tick"] = rng.choice([0.25, 1.0, 1e12 / 1.1444e9 / 1000])
    return {
        "kinds": kinds,
        "attention": attention,
        "far_block_ps": rng.integers(1, 6, (4, count)).astype(np.float64),
    }


@pytest.fixture(scope="session")
def run_and_log() -> Callable[[Engine, Problem], tuple[Served, Records]]:
    """Run an engine; its columns, and its step log sorted by replica and start."""

    def run(engine: Engine, problem: Problem) -> tuple[Served, Records]:
        windows: list[Records] = []
        served = engine(*problem, on_cycles=lambda window: windows.append(window.copy()))
        steps = expanded(np.concatenate([np.zeros(0, STEP), *windows]))
        return served, steps[np.argsort(steps["replica"], kind="stable")]

    return run
