"""Two kinds of hardware for the same traffic and SLO: which is cheaper, how sure, from what price.

Each side gets the smallest cluster on which some plan meets the SLO, by simulation. Then what is
uncertain is drawn: in every draw each side buys what scores say that it needs there, on the scale
of what the simulations showed, and the USD of a month are compared. The break-even price of a card
is the one at which both cost the same.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cluster.perf_model.tco import MILLION, SECONDS_PER_HOUR
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.studies.bands import PERCENTS
from cluster.studies.capacity import Found, NoCapacityError
from cluster.studies.capacity_search import Attempt, fewest_cards
from cluster.studies.draws import Draw, draws
from cluster.studies.machine_set import MachineSet
from cluster.studies.other_hardware import both_sides
from cluster.studies.plan.demand import rate_of
from cluster.studies.plan.objective import Objective, Verdict
from cluster.studies.plan.space import Choices
from cluster.studies.scored_sizes import Bill, ScoredSizes, bill_of, out_of_reach
from results import display
from topology.catalog import load_hardware

SAMPLES = 32
DOUBT = 3
"""Times that candidates are scored (a server, a rack, two racks) when it is checked that some plan
can meet the bounds at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One kind of hardware: its smallest cluster, and what it buys in each draw."""

    scenario: Scenario
    found: Found | None
    """None: no cluster meets the SLO."""
    reason: str = ""
    """Why there is none."""
    bill: Bill | None = None
    """As simulated, with the catalogue's figures."""
    tokens_per_s: float | None = None
    """Output tokens of the traffic a second; those of the run in a closed loop."""
    drawn: tuple[Bill | None, ...] = ()
    """None: more than REACH times the cards would be needed."""

    @property
    def hardware(self) -> str:
        return self.scenario.hardware

    @property
    def answer(self) -> Verdict | None:
        return None if self.found is None else self.found.answer

    @property
    def usd_per_million(self) -> float | None:
        """USD for a million output tokens at the rate at which they are wanted."""
        if self.bill is None or not self.tokens_per_s:
            return None
        return self.bill.usd_per_hour * MILLION / (self.tokens_per_s * SECONDS_PER_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TcoComparison:
    """Both sides, over the same draws."""

    first: Side
    second: Side
    contradicted: int
    """Draws that contradict a published point, which are left out."""

    def __repr__(self) -> str:
        return display.line("TcoComparison", self._facts())

    def _repr_html_(self) -> str:
        return display.table("TcoComparison", self._facts())

    def _facts(self) -> dict[str, Any]:
        sides = (self.first, self.second)
        hours = {side.hardware: side.bill and side.bill.usd_per_hour for side in sides}
        return hours | {"first_cheaper": self.first_cheaper}

    @property
    def cheaper(self) -> Side:
        """The side that costs less an hour; one without a cluster costs more than any."""
        own, other = (math.inf if one is None else one.usd_per_hour for one in self.bills)
        return self.first if own <= other else self.second

    @property
    def dearer(self) -> Side:
        """The other one."""
        return self.second if self.cheaper is self.first else self.first

    @property
    def bills(self) -> tuple[Bill | None, Bill | None]:
        """As simulated."""
        return self.first.bill, self.second.bill

    @property
    def pairs(self) -> list[tuple[Bill | None, Bill | None]]:
        """Bills of both sides by draw."""
        return list(zip(self.first.drawn, self.second.drawn, strict=True))

    @property
    def wins(self) -> tuple[int, int]:
        """Draws in which the first and the second are the cheaper; a side without a bill loses."""
        hours = [[math.inf if one is None else one.usd_per_hour for one in p] for p in self.pairs]
        return sum(a < b for a, b in hours), sum(b < a for a, b in hours)

    @property
    def first_cheaper(self) -> float | None:
        """Share of the draws in which the first is; None without draws."""
        return self.wins[0] / len(self.pairs) if self.pairs else None

    def break_even(self, side: Side) -> tuple[float, tuple[float, ...]] | None:
        """The side's break-even price of a card, and its 5th, 50th and 95th percentile over draws.

        None if a side has no cluster; no percentiles without draws that have both bills.
        """
        other = self.second if side is self.first else self.first
        if side.bill is None or other.bill is None:
            return None
        prices = [
            one.break_even_usd(two)
            for one, two in zip(side.drawn, other.drawn, strict=True)
            if one is not None and two is not None
        ]
        band = tuple(float(each) for each in np.percentile(prices, PERCENTS)) if prices else ()
        return side.bill.break_even_usd(other.bill), band


def compare_tco(  # noqa: PLR0913 - the question and the draws
    scenario: Scenario,
    hardware: str,
    *,
    objective: Objective | None = None,
    choices: Choices | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    machines: MachineSet | None = None,
    said: Callable[[str, Attempt], None] = lambda _hardware, _attempt: None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> TcoComparison:
    """Find the smallest cluster of each hardware that meets the SLO, and compare their costs.

    Parameters
    ----------
    scenario
        The traffic and the SLO, on one kind of hardware.
    hardware
        The other kind: a name or a file.
    objective
        Bounds, if other than the scenario's ``slo``.
    choices
        The search of both sides; formats stand for those of the same width on the other one.
    samples, seed, machines
        The draws, as for ``sensitivity``; machines are of the side whose hardware they are.
    said, progress
        Called with each size that was simulated, and with the numbers of shapes and of draws.

    Returns
    -------
    The comparison; ``first_cheaper`` is the share of draws in which the scenario's hardware is.

    Raises
    ------
    NoCapacityError
        Neither kind meets the SLO.
    ValueError
        As ``plan``.

    Examples
    --------
    >>> from corsair_sim import Choices, compare_tco, load
    >>> chat = {"requests": 20, "arrivals": {"poisson": {"rate_per_s": 1.0}}}
    >>> found = compare_tco(
    ...     load(workload={"synthetic": chat}, slo={"tpot_s": 0.02}),
    ...     "h200",
    ...     choices=Choices(tensor_parallel_size=(1,), max_num_seqs=(8,)),
    ...     samples=0,
    ... )
    >>> found.second.answer.cards
    1
    """
    objective = objective or Objective(slo=scenario.slo)
    sides = [
        (_searched(each, objective, space, said, progress), space)
        for each, space in both_sides(scenario, hardware, choices or Choices())
    ]
    if all(side.found is None for side, _ in sides):
        raise NoCapacityError("; ".join(f"{side.hardware}: {side.reason}" for side, _ in sides))
    (first, _), (second, _) = sides
    if samples == 0 or first.found is None or second.found is None:
        return TcoComparison(first=first, second=second, contradicted=0)
    machines_of = _draws_of(first.found.answer.of, second.found.answer.of, samples, seed, machines)
    kept = [(a, b) for a, b in zip(*machines_of, strict=True) if not (a.reason or b.reason)]
    bought = []
    for number, (side, space) in enumerate(sides):
        if side.found is not None:
            sizes = ScoredSizes.of(side.scenario, objective, space, side.found)
        drawn = []
        for done, pair in enumerate(kept):
            progress(number * len(kept) + done, 2 * len(kept))
            drawn.append(sizes.smallest(pair[number]))
        bought.append(replace(side, drawn=tuple(drawn)))
    progress(len(kept), len(kept))
    return TcoComparison(first=bought[0], second=bought[1], contradicted=samples - len(kept))


def _searched(
    scenario: Scenario,
    objective: Objective,
    choices: Choices,
    said: Callable[[str, Attempt], None],
    progress: Callable[[int, int], None],
) -> Side:
    """The smallest cluster of one kind of hardware."""
    name, scored = scenario.hardware, 0

    def watched(done: int, of: int) -> None:
        nonlocal scored
        progress(done, of)
        scored += done == of
        doubtful = done == of and scored == DOUBT
        if doubtful and (reason := out_of_reach(scenario, objective, choices)) is not None:
            raise NoCapacityError(reason)

    try:
        found = fewest_cards(scenario, objective, choices, lambda at: said(name, at), watched)
    except NoCapacityError as error:
        return Side(scenario=scenario, found=None, reason=str(error))
    answer, resolved = found.answer, resolve(found.answer.of)
    rate = rate_of(resolved)
    tokens = rate and rate * float(resolved.requests.output_tokens.mean())
    return Side(
        scenario=scenario,
        found=found,
        bill=bill_of(resolved.hardware, answer.cluster, answer.summary["cost_per_hour_usd"]),
        tokens_per_s=tokens or answer.summary["output_throughput"],
    )


def _draws_of(
    first: Scenario, second: Scenario, samples: int, seed: int, machines: MachineSet | None
) -> tuple[list[Draw], list[Draw]]:
    """Draws of both; figures that they share are the same in both, others are independent."""
    if machines is not None and machines.hardware not in (first.hardware, second.hardware):
        raise ScenarioError(
            f"--machines: they are {machines.hardware}'s, neither side's "
            f"({first.hardware}, {second.hardware})"
        )
    own = [
        machines if machines is not None and side.hardware == machines.hardware else None
        for side in (first, second)
    ]
    return (
        draws(first, samples, seed, machines=own[0]),
        draws(second, samples, seed, machines=own[1], unlike=load_hardware(first.hardware)),
    )
