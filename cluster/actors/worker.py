"""The work of an actor for its cards: price, run, accumulate. Needs no Ray and is tested
without."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.actors.code_version import code_version
from cluster.actors.partition import Part, prices_of, problem_of
from cluster.perf_model.card import Card
from cluster.perf_model.counters import Tally
from cluster.perf_model.energy.attribution import SlotJoules
from cluster.perf_model.energy.coefficients import Floats, Joules
from cluster.perf_model.prices import PriceInputs, StageJob, StagePrice, price_stages
from cluster.perf_model.tables import STEP, Integers, PriceTables, Records, as_integers
from cluster.perf_model.timeline import Account, Bins
from cluster.serving.energy_attribution import members_of
from cluster.serving.engine import check_end, served_of
from cluster.serving.interface import NEVER, Arrivals, Limits, Served
from cluster.serving.kernel.advance import advance
from cluster.serving.kernel.build import build
from cluster.serving.kernel.state import RUNNING
from cluster.serving.tables import Columns, rank_columns

Place = tuple[int, int]
"""A stage of a replica: its cards do the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the run of a part has come."""

    now_ps: int
    done: int
    tokens: int
    running: bool


class Ledger:
    """The accounts of those replicas of a part that an actor has cards of."""

    def __init__(
        self, prices: PriceTables, replicas: Sequence[int], max_bins: int, begin_ps: int = 0
    ) -> None:
        self._local = np.full(prices.replicas, -1, np.int64)
        self._local[list(replicas)] = np.arange(len(replicas))
        own = prices_of(prices, np.array(replicas, np.int64))
        self._account = Account(own, max_bins=max_bins, begin_ps=begin_ps)
        self._bins: Bins | None = None
        self.add(np.zeros(0, STEP))

    def add(self, window: Records) -> None:
        """Book the rows of these replicas; the window may be read-only."""
        local = self._local[window["replica"]]
        rows = window[local >= 0]
        rows["replica"] = local[local >= 0]
        self._account.add(rows)

    def close(self, end_ps: int) -> None:
        """Bring the bins to the length that they have in the whole run, which ends then."""
        self._account.reach(end_ps)
        self._bins = self._account.bins()

    def bins_of(self, place: Place) -> tuple[Bins, int]:
        """The closed bins, and the number that the place's replica has in them."""
        if self._bins is None:
            raise RuntimeError(f"the account of replica {place[0]} is still open")
        return self._bins, int(self._local[place[0]])


class PartRun:
    """The run of one independent part, advanced from outside."""

    def __init__(
        self,
        part: Part,
        arrivals: Arrivals,
        prices: PriceTables,
        limits: Limits,
        joules: Joules | None = None,
        begin_ps: int = 0,
    ) -> None:
        """Make ready; with ``joules`` the energy of every step is shared out to the requests."""
        self._replica = int(part.replicas[0])
        self._requests = part.requests
        self._arrivals, own_prices, own_limits = problem_of(part, arrivals, prices, limits)
        self._state = build(self._arrivals, own_prices, own_limits)
        self._shares = None if joules is None else SlotJoules(prices, joules, part.replicas)
        self.tally = Tally(begin_ps=begin_ps)

    def advance(self, rows: int) -> tuple[Progress, Records]:
        """At most ``rows`` further steps of the log, with the numbers of the whole run."""
        log = np.zeros(rows, STEP)
        log = log[: advance(self._state, log, as_integers(log))]
        log["replica"] = self._replica
        prompts = log["prompt_request"]
        prompts[prompts != NEVER] = self._requests[prompts[prompts != NEVER]]
        self.tally.add(log)
        if self._shares is not None:
            self._shares.add(log)
        control = self._state.control[0]
        running = bool(control["status"] == RUNNING)
        if not running:
            check_end(self._state)
        now_ps, done, tokens = (int(control[name]) for name in ("now_ps", "done", "tokens"))
        return Progress(now_ps=now_ps, done=done, tokens=tokens, running=running), log

    def served(self) -> Served:
        return served_of(self._state)

    def request_j(self) -> Floats:
        """Energy of each request of the part; nothing where it was not asked for."""
        if self._shares is None:
            return np.zeros(len(self._arrivals.arrival_ps))
        return self._shares.of(members_of(self.served(), self._arrivals))


class WorkerState:
    """Some cards of the machine, and the work that is theirs.

    Nothing is kept that cannot be had again from the cards and the arguments: where an actor is
    lost, another one is made from the same cards and given its work anew.
    """

    def __init__(self, cards: Sequence[Card]) -> None:
        self._cards = tuple(cards)
        self.places: set[Place] = {(card.replica, card.stage) for card in cards}
        self._ledgers: dict[int, Ledger] = {}
        self._runs: dict[int, PartRun] = {}
        self._part_of: dict[int, int] = {}

    def version(self) -> str:
        return code_version()

    def price(self, inputs: PriceInputs, jobs: Sequence[StageJob]) -> list[StagePrice]:
        """Price distinct stages that these cards hold."""
        return price_stages(inputs, jobs)

    def warm(
        self, prices: PriceTables, arrivals: Arrivals, joules: Joules, limits: Limits, apart: bool
    ) -> None:
        """Compile all that is needed, so that the machine code lies on this node's disk."""
        Ledger(prices, [0], max_bins=2)
        if apart:
            empty = Part(replicas=np.zeros(1, np.int64), requests=np.zeros(0, np.int64))
            PartRun(empty, arrivals, prices, limits, joules).advance(0)

    def begin(
        self,
        number: int,
        part: Part,
        prices: PriceTables,
        arrivals: Arrivals,
        joules: Joules,
        limits: Limits,
        begin_ps: int = 0,
    ) -> tuple[Progress, Records]:
        """Make ready to run a part; return as ``advance`` does, with no step done."""
        self._runs[number] = PartRun(part, arrivals, prices, limits, joules, begin_ps)
        return self.advance(number, 0)

    def advance(self, number: int, rows: int) -> tuple[Progress, Records]:
        """Run a part on; return where it stands and the next window of its log."""
        return self._runs[number].advance(rows)

    def served(self, number: int) -> tuple[Served, Tally, Floats]:
        """What became of a part's requests, counts of its log, and what each request's work cost.

        The part is forgotten then.
        """
        run = self._runs.pop(number)
        return run.served(), run.tally, run.request_j()

    def open(
        self,
        number: int,
        replicas: Integers,
        prices: PriceTables,
        max_bins: int,
        begin_ps: int = 0,
    ) -> None:
        """Open the accounts of a part's replicas, new and empty; bins begin at ``begin_ps``."""
        mine = sorted({replica for replica, _ in self.places} & set(replicas.tolist()))
        self._ledgers[number] = Ledger(prices, mine, max_bins, begin_ps)
        self._part_of |= dict.fromkeys(mine, number)

    def account(self, number: int, window: Records) -> None:
        """Book a window of a part's log."""
        self._ledgers[number].add(window)

    def close(self, end_ps: int, places: Sequence[Place]) -> list["StageBooks"]:
        """Close all accounts, since the whole run ended at ``end_ps``; return some of them."""
        for ledger in self._ledgers.values():
            ledger.close(end_ps)
        return [_books(*self._bins_of(place), place[1]) for place in places]

    def columns(self, pool: tuple[int, int], bounds: tuple[str, ...]) -> dict[Place, Columns]:
        """Columns of the table ``cards`` for each stage here: equal cards, equal columns."""
        return {
            place: rank_columns(bins, (replica, place[1]), pool, bounds)
            for place in sorted(self.places)
            for bins, replica in [self._bins_of(place)]
        }

    def _bins_of(self, place: Place) -> tuple[Bins, int]:
        return self._ledgers[self._part_of[place[0]]].bins_of(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBooks:
    """``Bins`` of one stage of one replica; the KV columns are the replica's."""

    bin_ps: int
    start_ps: int
    busy_ps: Integers
    tokens: Integers
    steps: Integers
    tier_bytes: Integers
    send_bytes: Integers
    counts: Integers
    kv_block_ns: Integers
    peak_blocks: Integers


def _books(bins: Bins, replica: int, stage: int) -> StageBooks:
    at = (replica, stage)
    return StageBooks(
        bin_ps=bins.bin_ps,
        start_ps=bins.start_ps,
        busy_ps=bins.busy_ps[at],
        tokens=bins.tokens[at],
        steps=bins.steps[at],
        tier_bytes=bins.tier_bytes[at],
        send_bytes=bins.send_bytes[at],
        counts=bins.counts[at],
        kv_block_ns=bins.kv_block_ns[replica],
        peak_blocks=bins.peak_blocks[replica],
    )


def bins_of(books: dict[Place, StageBooks]) -> Bins:
    """The bins of the whole run from those of all its stages."""
    replicas, stages = (1 + max(place[axis] for place in books) for axis in (0, 1))

    def every(name: str) -> Integers:
        rows = [
            np.stack([getattr(books[replica, stage], name) for stage in range(stages)])
            for replica in range(replicas)
        ]
        return np.stack(rows)

    return Bins(
        bin_ps=books[0, 0].bin_ps,
        start_ps=books[0, 0].start_ps,
        busy_ps=every("busy_ps"),
        tokens=every("tokens"),
        steps=every("steps"),
        tier_bytes=every("tier_bytes"),
        send_bytes=every("send_bytes"),
        counts=every("counts"),
        kv_block_ns=every("kv_block_ns")[:, 0],
        peak_blocks=every("peak_blocks")[:, 0],
    )
