"""The workload of a scenario: requests from a trace or a generator, or operations."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from cluster.scenario.base import Count, NotNegative, NoTokens, Part, Positive, Tokens
from corsair_common.names import Control, Phase
from workloads.readers.trace_format import GivenUnit, LaterPrompts

Choice = TypeVar("Choice", bound=Part)


class Poisson(Part):
    """Exponential gaps."""

    rate_per_s: Positive


class Gamma(Part):
    """Gamma-distributed gaps; burstiness is the shape (1 = Poisson, less = burstier)."""

    rate_per_s: Positive
    burstiness: Annotated[float, Field(ge=1e-6, le=1e9, allow_inf_nan=False)]


class Constant(Part):
    """Equal gaps."""

    rate_per_s: Positive


class Arrivals(Part):
    """Arrival process; exactly one of the keys."""

    poisson: Poisson | None = None
    gamma: Gamma | None = None
    constant: Constant | None = None
    concurrency: Annotated[int, Field(ge=1, le=2**31)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Arrivals":
        return exactly_one(self)


class Uniform(Part):
    """Whole numbers from low to high, both included."""

    low: Tokens
    high: Tokens

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        if self.high < self.low:
            raise ValueError(f"high ({self.high}) must not be below low ({self.low})")
        return self


class Lognormal(Part):
    """Log-normal with this mean and median, cut at ``maximum`` if set."""

    mean: Positive
    p50: Positive
    maximum: Tokens | None = None

    @model_validator(mode="after")
    def _skewed(self) -> "Lognormal":
        if self.mean < self.p50:
            raise ValueError(f"mean ({self.mean}) must not be below p50 ({self.p50})")
        return self


class Columns(Part):
    """Column names of a trace file."""

    time: str | None = None
    prompt_tokens: str | None = None
    output_tokens: str | None = None
    hash_ids: str | None = None
    session: str | None = None
    delay: str | None = None


class Empirical(Part):
    """The lengths of a trace, drawn with replacement."""

    trace: str
    format: str = "auto"
    columns: Columns | None = None
    column: Literal["prompt_tokens", "output_tokens"]


class Lengths(Part):
    """Length distribution; exactly one of the keys."""

    fixed: Tokens | None = None
    uniform: Uniform | None = None
    lognormal: Lognormal | None = None
    empirical: Empirical | None = None

    @model_validator(mode="after")
    def _one(self) -> "Lengths":
        return exactly_one(self)


class SkewedDelay(Part):
    """Log-normal with this mean and median, in seconds."""

    mean: Positive
    p50: Positive

    @model_validator(mode="after")
    def _skewed(self) -> "SkewedDelay":
        if self.mean < self.p50:
            raise ValueError(f"mean ({self.mean}) must not be below p50 ({self.p50})")
        return self


class Delay(Part):
    """Seconds from an answer to the next turn; exactly one of the keys."""

    fixed: NotNegative | None = None
    exponential: Positive | None = None
    lognormal: SkewedDelay | None = None

    @model_validator(mode="after")
    def _one(self) -> "Delay":
        return exactly_one(self)


class Sessions(Part):
    """Turns of a session, tokens that a later one adds to its history, and its delay.

    Arrivals and prompt_tokens are then those of first turns; ``system_tokens`` of all prompts are
    the same.
    """

    turns: Lengths
    added_tokens: Lengths
    delay_s: Delay
    system_tokens: NoTokens = 0


class Synthetic(Part):
    """Seeded traffic: a preset, or arrivals and lengths; single requests, or sessions."""

    requests: Annotated[int, Field(ge=1, le=10**8)]
    preset: str | None = None
    arrivals: Arrivals | None = None
    prompt_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    sessions: Sessions | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Synthetic":
        own = (self.arrivals, self.prompt_tokens, self.output_tokens)
        if self.preset is None and None in own:
            raise ValueError("give a preset, or all of arrivals, prompt_tokens and output_tokens")
        if self.sessions and self.arrivals and self.arrivals.concurrency is not None:
            raise ValueError(
                "sessions need open-loop arrivals (poisson, gamma, constant); found "
                "arrivals.concurrency"
            )
        return self


class ProgramSteps(Part):
    """Operations generated from model, plan and batch; ``batch`` counts prompts in a prefill."""

    phase: Phase
    batch: Annotated[int, Field(ge=1, le=2**17)]
    context: Tokens | None = None
    steps: Annotated[int, Field(ge=1, le=10**5)] | None = None
    growing: bool | None = None
    prompt_tokens: Tokens | None = None
    chunk_tokens: Tokens | None = None
    slots: Count | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _of_its_phase(self) -> "ProgramSteps":
        own = PHASE_KEYS[self.phase]
        strange = [
            name
            for name in ("context", "steps", "growing", "prompt_tokens", "chunk_tokens")
            if getattr(self, name) is not None and name not in own
        ]
        if strange:
            allowed = ", ".join(own)
            raise ValueError(f"{strange[0]} does not apply to phase {self.phase}; it has {allowed}")
        if getattr(self, own[0]) is None:
            raise ValueError(f"phase {self.phase} needs {own[0]}")
        if self.phase == "mixed" and self.context is None:
            raise ValueError("phase mixed needs context")
        return self


PHASE_KEYS = {
    "decode": ("context", "steps", "growing"),
    "prefill": ("prompt_tokens", "chunk_tokens"),
    "mixed": ("prompt_tokens", "chunk_tokens", "context"),
}
"""Keys of a program besides phase, batch and slots; the first is required."""


class ChakraFolder(Part):
    """A folder of NAME.<rank>.et files, and reading options."""

    folder: str
    control: Control = "auto"
    groups: str | None = None
    copies: Count = 1


def form_of(value: Any) -> str:
    """Discriminator between a name, as of a file, and a mapping."""
    return "by-name" if isinstance(value, str) else "by-keys"


class Workload(Part):
    """The traffic: a trace file or a generator, cut and scaled; or an operation trace."""

    trace: str | None = None
    format: str = "auto"
    time_unit: GivenUnit | None = None
    hash_block_tokens: Count | None = None
    columns: Columns | None = None
    later_prompts: LaterPrompts = "whole"
    synthetic: Synthetic | None = None
    limit: Count | None = None
    rate_scale: Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False)] = 1.0
    start_s: NotNegative = 0.0
    duration_s: Positive | None = None
    program: (
        Annotated[
            Annotated[str, Tag("by-name")] | Annotated[ProgramSteps, Tag("by-keys")],
            Discriminator(form_of),
        ]
        | None
    ) = None
    chakra: (
        Annotated[
            Annotated[str, Tag("by-name")] | Annotated[ChakraFolder, Tag("by-keys")],
            Discriminator(form_of),
        ]
        | None
    ) = None

    @property
    def is_replayed(self) -> bool:
        """Whether it is operations (``corsair-sim replay``) and not requests (``serve``)."""
        return self.program is not None or self.chakra is not None

    @model_validator(mode="after")
    def _one_source(self) -> "Workload":
        inputs = [name for name in SOURCES if getattr(self, name) is not None]
        if len(inputs) != 1:
            found = f"; found {' and '.join(inputs)}" if inputs else ""
            raise ValueError(f"give exactly one of {', '.join(SOURCES)}{found}")
        for name, field in type(self).model_fields.items():
            if self.is_replayed and name not in SOURCES and getattr(self, name) != field.default:
                raise ValueError(f"{name} is for request traces; an operation trace has none")
        return self


SOURCES = ("trace", "synthetic", "program", "chakra")
"""Keys of a workload of which exactly one is set."""


def exactly_one(choice: Choice) -> Choice:
    """The block, if one of its keys is set and no other."""
    inputs = [name for name in type(choice).model_fields if getattr(choice, name) is not None]
    if len(inputs) != 1:
        allowed = ", ".join(type(choice).model_fields)
        raise ValueError(f"give exactly one of {allowed}; found {', '.join(inputs) or 'none'}")
    return choice
