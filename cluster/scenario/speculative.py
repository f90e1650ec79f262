"""Speculative decoding of a scenario; and from its acceptance the table of draws of a run.

Keys are those of vLLM's ``--speculative-config`` where it has one.
"""

import csv
import difflib
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from cluster.scenario.base import Count, Part, Seconds
from corsair_common.units import Floats, Integers

Method: TypeAlias = Literal["draft_model", "ngram", "mtp", "eagle"]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
DRAW_STREAM, FIRST_STREAM = 6, 7
"""Random streams, separate from those of the traffic and of routers with the same seed."""


class AcceptanceError(ValueError):
    """A table of acceptance lengths without the row that is named."""

    exit_code: ClassVar[int] = 2


class MeasuredLengths(Part):
    """A row of a table of measured lengths: its columns are set, mode, num_speculative_tokens and
    mean_accepted_length."""

    file: str
    set: str
    mode: str | None = None


class Acceptance(Part):
    """How many drafts are accepted; exactly one of its keys.

    ``rate``: of each draft after accepted ones, constant. ``length``: the same, as the mean number
    of tokens that a verification emits (vLLM's ``synthetic_acceptance_length``, 1 to k + 1).
    ``rates``: by position, that all drafts up to it are accepted (vLLM's
    ``synthetic_acceptance_rates``). ``measured``: a length from a table.
    """

    rate: Share | None = None
    length: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    rates: Annotated[tuple[Share, ...], Field(strict=False)] | None = None
    measured: MeasuredLengths | None = None

    @model_validator(mode="after")
    def _one(self) -> "Acceptance":
        found = [name for name, value in self if value is not None]
        if len(found) != 1:
            raise ValueError(
                "acceptance has exactly one of rate, length, rates and measured; found "
                + (" and ".join(found) or "none")
            )
        if self.rates and any(b > a for a, b in zip(self.rates, self.rates[1:], strict=False)):
            raise ValueError(f"acceptance.rates must not rise, got {list(self.rates)}")
        return self


class DraftCards(Part):
    """Cards of their own for drafts: the last of the cluster, or servers of other hardware.

    ``handover_s`` is host time of a message to them or back (assumed 20 us; 5 to 100).
    """

    cards: Count
    hardware: str | None = None
    handover_s: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 2e-5


class Speculative(Part):
    """Speculative decoding: drafts of several tokens, which the model verifies in one step.

    ``model`` is a draft model's name or path; mtp and eagle are one layer of the model's own shape.
    An n-gram drafter has neither: its time is ``host_s_per_request`` (assumed 20 us; 2 to 200).
    """

    method: Method
    num_speculative_tokens: Annotated[int, Field(ge=1, le=64)]
    model: str | None = None
    draft_tensor_parallel_size: Count | None = None
    draft_sample_method: Literal["greedy", "probabilistic"] = "greedy"
    acceptance: Acceptance
    draft_on: DraftCards | None = None
    host_s_per_request: Seconds = 2e-5

    @model_validator(mode="after")
    def _whole(self) -> "Speculative":
        own = self.method == "draft_model"
        if own and self.model is None:
            raise ValueError("method draft_model needs speculative.model")
        if not own and self.model is not None:
            raise ValueError(
                f"speculative.model is for method draft_model; {self.method} has "
                + ("none" if self.method == "ngram" else "a layer of the model's own shape")
            )
        if not own and self.draft_on is not None:
            raise ValueError(
                f"speculative.draft_on is for method draft_model; {self.method} drafts on the "
                "cards of the model"
            )
        wanted = self.num_speculative_tokens
        rates, length = self.acceptance.rates, self.acceptance.length
        if rates is not None and len(rates) != wanted:
            raise ValueError(
                f"acceptance.rates has one for each of num_speculative_tokens {wanted}, got "
                f"{len(rates)}"
            )
        if length is not None and length > wanted + 1:
            raise ValueError(
                f"acceptance.length is 1 to {wanted + 1} (num_speculative_tokens + 1), got {length}"
            )
        return self


def probabilities(speculative: Speculative) -> Floats:
    """[k + 1] probability of each number of accepted drafts.

    Raises
    ------
    ValueError
        A table without such a row.
    """
    acceptance, drafts = speculative.acceptance, speculative.num_speculative_tokens
    if acceptance.rates is not None:
        reached = np.array([1.0, *acceptance.rates])
        less: Floats = reached - np.append(reached[1:], 0.0)
        return less
    if acceptance.rate is not None:
        return geometric(acceptance.rate, drafts)
    length = acceptance.length
    if acceptance.measured is not None:
        length = measured_length(acceptance.measured, drafts)
    return geometric(rate_of(float(length or 1.0), drafts), drafts)


def measured_length(measured: MeasuredLengths, drafts: int) -> float:
    """Mean number of tokens that a verification emits, from a table."""
    path = Path(measured.file)
    if not path.is_file():
        raise AcceptanceError(f"speculative.acceptance.measured.file: {path} does not exist")
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    own = [row for row in rows if row.get("set") == measured.set]
    if not own:
        sets = sorted({row.get("set") or "" for row in rows})
        near = difflib.get_close_matches(measured.set, sets, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AcceptanceError(
            f"{path} has no set {measured.set!r}, but {', '.join(sets) or 'no rows'}{hint}"
        )
    own = [row for row in own if measured.mode in (None, row["mode"])]
    lengths = {
        float(row["mean_accepted_length"])
        for row in own
        if int(row["num_speculative_tokens"]) == drafts
    }
    if len(lengths) != 1:
        raise AcceptanceError(
            f"{path} has {len(lengths)} rows of set {measured.set}, mode {measured.mode} and "
            f"num_speculative_tokens {drafts}; name one by set and mode: "
            + ", ".join(sorted({f"{row['mode']} {row['num_speculative_tokens']}" for row in own}))
        )
    return lengths.pop()


DRAWS = 1 << 12
"""Verifications in the table; their mean differs from the distribution's by at most k / DRAWS."""


def geometric(rate: float, drafts: int) -> Floats:
    """[k + 1] probability of each number of accepted drafts if every draft is right at ``rate``.

    The mean number of emitted tokens is ``(1 - rate^(k + 1)) / (1 - rate)`` (Leviathan et al. 2023,
    equation 1).
    """
    reached: Floats = rate ** np.arange(drafts + 1, dtype=np.float64)
    less: Floats = reached - np.append(reached[1:], 0.0)
    return less


def rate_of(mean_length: float, drafts: int) -> float:
    """The rate per draft at which a row emits so many tokens in the mean, 1 to ``drafts + 1``."""
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        if float(np.sum(rate ** np.arange(drafts + 1))) < mean_length:
            low = rate
        else:
            high = rate
    return (low + high) / 2


def draws_of(probabilities: Floats, seed: int) -> Integers:
    """[DRAWS] accepted drafts: the quantiles of the distribution, shuffled."""
    steps = np.cumsum(probabilities / probabilities.sum())[:-1]
    middle = (np.arange(DRAWS) + 0.5) / DRAWS
    table = np.searchsorted(steps, middle, side="right").astype(np.int64)
    return np.random.default_rng([seed, DRAW_STREAM]).permutation(table)


def first_draws(requests: int, seed: int) -> Integers:
    """[n] entry of the table with which each request begins."""
    return np.random.default_rng([seed, FIRST_STREAM]).integers(0, DRAWS, requests)
