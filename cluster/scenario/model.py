"""The scenario as a value: every key, its type and its bounds; vLLM's names where it has one."""

from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count: TypeAlias = Annotated[int, Field(ge=1)]
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=2**40)]
Table: TypeAlias = Annotated[int, Field(ge=1, le=2**17)]
"""Prices are tabulated up to here: longer tables would only eat memory."""
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LONGEST_S = 9.2e6
"""A run holds 106 days."""
MOST_CARDS = 2**14

Seconds: TypeAlias = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]
Algorithm: TypeAlias = Literal["auto", "ring", "direct", "halving_doubling", "tree", "hierarchical"]


class Part(BaseModel):
    """A frozen piece of a scenario that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Cluster(Part):
    """How many machines."""

    racks: Count = 1
    servers_per_rack: Count = 1
    cards_per_server: Count = 8

    @model_validator(mode="after")
    def _of_a_size(self) -> "Cluster":
        cards = self.racks * self.servers_per_rack * self.cards_per_server
        if cards > MOST_CARDS:
            raise ValueError(f"{cards:,} cards are too many: at most {MOST_CARDS:,} are simulated")
        return self


class Link(Part):
    """A cable that is worse (or better) than its datasheet, matched by name, ``*`` allowed."""

    match: str
    bandwidth_scale: Scale = 1.0
    latency_scale: Scale = 1.0


class Formats(Part):
    """Number formats of what lies in memory, enters the matrix engine, and crosses a link."""

    weights: str = "mxint8"
    activations: str = "mxint8"
    kv: str = "mxint8"
    wire: str = "fp16"


class PlanSettings(Part):
    """Degrees of parallelism, counted in cards."""

    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    expert_parallel_size: Count = 1
    replicas: Count | Literal["auto"] = "auto"


class Memory(Part):
    """Where weights live: SRAM (performance) or LPDDR (capacity). KV lives in SRAM."""

    mode: Literal["performance", "capacity"] = "performance"


class Scheduler(Part):
    """Continuous batching, as vLLM v1 has it."""

    max_num_seqs: Table = 60
    max_num_batched_tokens: Table = 512
    block_size: Table = 64
    max_model_len: Tokens | None = None
    enable_prefix_caching: bool | Literal["auto"] = "auto"


class Collectives(Part):
    """Which algorithm to use; ``auto`` takes the cheapest for each size."""

    all_reduce: Algorithm = "auto"


class Experts(Part):
    """How tokens choose experts: uniformly, or skewed with Zipf's exponent."""

    routing: Literal["uniform", "zipf"] = "uniform"
    skew: NotNegative = 1.0


Choice = TypeVar("Choice", bound="Arrivals | Lengths")


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
    """When requests come; exactly one of the keys."""

    poisson: Poisson | None = None
    gamma: Gamma | None = None
    constant: Constant | None = None
    concurrency: Annotated[int, Field(ge=1, le=2**31)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Arrivals":
        return _exactly_one(self)


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
    """Log-normal with the given mean and median, cut at ``maximum`` where one is given."""

    mean: Positive
    p50: Positive
    maximum: Tokens | None = None

    @model_validator(mode="after")
    def _skewed(self) -> "Lognormal":
        if self.mean < self.p50:
            raise ValueError(f"mean ({self.mean}) must not be below p50 ({self.p50})")
        return self


class Empirical(Part):
    """The lengths of a trace, drawn with replacement."""

    trace: str
    format: str = "auto"
    column: Literal["prompt_tokens", "output_tokens"]


class Lengths(Part):
    """How many tokens; exactly one of the keys."""

    fixed: Tokens | None = None
    uniform: Uniform | None = None
    lognormal: Lognormal | None = None
    empirical: Empirical | None = None

    @model_validator(mode="after")
    def _one(self) -> "Lengths":
        return _exactly_one(self)


class Synthetic(Part):
    """Seeded traffic: a preset, or arrivals and lengths of one's own."""

    requests: Annotated[int, Field(ge=1, le=10**8)]
    preset: str | None = None
    arrivals: Arrivals | None = None
    prompt_tokens: Lengths | None = None
    output_tokens: Lengths | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Synthetic":
        own = (self.arrivals, self.prompt_tokens, self.output_tokens)
        if self.preset is None and None in own:
            raise ValueError("give a preset, or all of arrivals, prompt_tokens and output_tokens")
        return self


class Workload(Part):
    """The traffic: a trace file or a generator, cut and scaled."""

    trace: str | None = None
    format: str = "auto"
    synthetic: Synthetic | None = None
    limit: Count | None = None
    rate_scale: Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False)] = 1.0
    start_s: NotNegative = 0.0
    duration_s: Positive | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Workload":
        if (self.trace is None) == (self.synthetic is None):
            raise ValueError("give exactly one of trace and synthetic")
        return self


class Slo(Part):
    """What counts as good service; a request must meet every bound that is given."""

    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    e2e_s: Seconds | None = None


class Store(Part):
    """What a run leaves on disk beside the tables that it always writes."""

    steps: bool = False
    bins: Annotated[int, Field(ge=2, le=1000)] | Literal["auto"] = "auto"


class Scenario(Part):
    """Everything that a run depends on."""

    name: str = "unnamed"
    hardware: str = "corsair"
    hardware_set: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    cluster: Cluster = Cluster()
    links: Annotated[tuple[Link, ...], Field(strict=False)] = ()
    model: str
    formats: Formats = Formats()
    plan: PlanSettings = PlanSettings()
    memory: Memory = Memory()
    scheduler: Scheduler = Scheduler()
    collectives: Collectives = Collectives()
    experts: Experts = Experts()
    router: Literal["round_robin", "random", "least_outstanding", "least_kv"] = "least_outstanding"
    workload: Workload
    slo: Slo = Slo()
    warmup_s: Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)] = 0.0
    store: Store = Store()
    seed: Annotated[int, Field(ge=0)] = 0


def _exactly_one(choice: Choice) -> Choice:
    given = [name for name in type(choice).model_fields if getattr(choice, name) is not None]
    if len(given) != 1:
        allowed = ", ".join(type(choice).model_fields)
        raise ValueError(f"give exactly one of {allowed}; found {', '.join(given) or 'none'}")
    return choice
