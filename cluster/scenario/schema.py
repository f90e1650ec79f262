"""The scenario as a value: every key, its type and its bounds; vLLM's names where it has one."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from cluster.scenario.base import (
    LONGEST_S,
    Count,
    NotNegative,
    NoTokens,
    Part,
    Positive,
    Scale,
    ScaleOrDown,
    Seconds,
    Table,
    Tokens,
)
from cluster.scenario.collectives import AlgorithmName, Detail, Norms, Overlap
from cluster.scenario.cost import Cost
from cluster.scenario.memory_modes import Memory
from cluster.scenario.router_settings import AnyRouter
from cluster.scenario.speculative import Speculative
from cluster.scenario.workload import ProgramSteps, Workload, form_of

MOST_CARDS = 2**14
AUTO: Literal["auto"] = "auto"
FiguresSet: TypeAlias = dict[str, Annotated[float, Field(allow_inf_nan=False)]]
PLAIN_WIRE = "fp16"
"""Of messages on a plain network, which has no hardware file."""


class Cluster(Part):
    """Size of the cluster, and what joins its cards.

    With ``fabric: supernode`` a server is a node of up to 32 cards on one PCIe fabric; auto: as the
    hardware file says.
    """

    racks: Count = 1
    servers_per_rack: Count = 1
    cards_per_server: Count = 8
    fabric: Literal["auto", "jetstream", "supernode"] = AUTO

    @model_validator(mode="after")
    def _of_a_size(self) -> "Cluster":
        cards = self.racks * self.servers_per_rack * self.cards_per_server
        if cards > MOST_CARDS:
            raise ValueError(f"{cards:,} cards are too many: at most {MOST_CARDS:,} are simulated")
        return self


class Link(Part):
    """A cable that is slower (or faster) than its datasheet, matched by name, ``*`` allowed.

    With a bandwidth of 0 it is down.
    """

    match: str
    bandwidth_scale: ScaleOrDown = 1.0
    latency_scale: Scale = 1.0


class PartState(Part):
    """A server, card, switch, NIC, leaf or link, matched by name, ``*`` allowed."""

    match: str
    down: bool


class Formats(Part):
    """Number formats in memory, in the matrix engine, and on links; auto: the hardware file's."""

    weights: str = AUTO
    activations: str = AUTO
    kv: str = AUTO
    wire: str = AUTO


class PlanSettings(Part):
    """Degrees of parallelism, counted in ranks (one card each)."""

    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    expert_parallel_size: Count = 1
    replicas: Count | Literal["auto"] = "auto"


AnyPlan: TypeAlias = Annotated[
    Annotated[Literal["auto"], Tag("by-name")] | Annotated[PlanSettings, Tag("by-keys")],
    Discriminator(form_of),
]
"""``auto``: the estimator's best for the cluster and the traffic."""


class Power(Part):
    """The cards' clock, and the power that a fully loaded card may draw: a cap lowers the clock.

    Of cards whose hardware file has a clock (``card.clock_hz``): not of GPUs.
    """

    clock_hz: Positive | None = None
    cap_w: Positive | None = None


class Scheduler(Part):
    """Continuous batching, as in vLLM v1."""

    max_num_seqs: Table = 60
    max_num_batched_tokens: Table = 512
    block_size: Table = 64
    long_prefill_token_threshold: NoTokens = 0
    """Most tokens of one prompt in a step, while its replica has other requests; 0: no limit."""
    async_scheduling: bool = False
    """Schedule a batch while the previous one runs, which hides host time. One stage only."""
    max_model_len: Tokens | None = None
    enable_prefix_caching: bool | Literal["auto"] = "auto"


class Pool(Part):
    """Some of the cluster's cards, which only prefill or only decode.

    Omitted keys are inherited from the scenario one by one; but a decode pool's router is
    ``round_robin`` unless set, and its prefix cache is off unless enabled. With ``hardware`` of its
    own a pool inherits neither ``hardware_set``, ``formats`` nor ``power``, which go with it.
    """

    cards: Count
    hardware: str | None = None
    hardware_set: FiguresSet = Field(default_factory=dict)
    formats: Formats = Formats()
    power: Power | None = None
    plan: AnyPlan = PlanSettings()
    memory: Memory = Memory()
    scheduler: Scheduler = Scheduler()
    router: AnyRouter | None = None


class Pools(Part):
    """Disaggregated serving: the first cards prefill, the next ones decode."""

    prefill: Pool
    decode: Pool


class Transfer(Part):
    """Transfer of a prompt's KV between the pools: after its prefill, or by layer during it.

    KV crosses in the format of one of the pools and is converted before or after; ``narrower``
    takes the one with fewer bytes.
    """

    mode: Literal["whole", "layerwise"] = "whole"
    format: Literal["narrower", "prefill", "decode"] = "narrower"


class Collectives(Part):
    """Algorithm, and what is done between the halves of an all-reduce; ``auto`` is the cheapest."""

    all_reduce: AlgorithmName = "auto"
    norms: Norms = "auto"
    overlap: Overlap = "none"


class Fabric(Part):
    """Transfers of a replay: one per collective, per step of it, or per message."""

    contention: bool = True
    collectives: Detail = "coflow"
    forwarding: Literal["cut_through", "store_and_forward"] = "cut_through"


class EndpointRates(Part):
    """Rates of an endpoint without a card model: prices nodes without a duration."""

    flop_per_s: Positive
    bytes_per_s: Positive


class Experts(Part):
    """Routing of tokens to experts: uniform, or skewed with Zipf's exponent."""

    routing: Literal["uniform", "zipf"] = "uniform"
    skew: NotNegative = 1.0


class Slo(Part):
    """Service level objective; a request must meet every bound that is set."""

    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    e2e_s: Seconds | None = None


MOST_BROKEN_DOWN = 200_000
"""Requests up to which ``store.latency_breakdown: auto`` splits their latencies: about 250 bytes
of memory each."""


class Store(Part):
    """Optional output of a run, besides the tables that it always writes."""

    steps: bool = False
    bins: Annotated[int, Field(ge=2, le=1000)] | Literal["auto"] = "auto"
    latency_breakdown: bool | Literal["auto"] = "auto"

    def breaks_down(self, requests: int) -> bool:
        """Whether the latency of each request is split by cause."""
        if self.latency_breakdown == "auto":
            return requests <= MOST_BROKEN_DOWN
        return self.latency_breakdown

    @property
    def most_bins(self) -> int:
        """Most time bins that a table may have, an even number: they are merged two by two."""
        return (1000 if self.bins == "auto" else self.bins) // 2 * 2


class Scenario(Part):
    """The complete input of a run."""

    name: str = "unnamed"
    hardware: str = "corsair"
    hardware_set: FiguresSet = Field(default_factory=dict)
    cluster: Cluster = Cluster()
    links: Annotated[tuple[Link, ...], Field(strict=False)] = ()
    state: Annotated[tuple[PartState, ...], Field(strict=False)] = ()
    network: str | None = None
    endpoint: EndpointRates | None = None
    model: str | None = None
    formats: Formats = Formats()
    plan: AnyPlan = "auto"
    memory: Memory = Memory()
    power: Power = Power()
    cost: Cost = Cost()
    scheduler: Scheduler = Scheduler()
    collectives: Collectives = Collectives()
    fabric: Fabric = Fabric()
    experts: Experts = Experts()
    router: AnyRouter = "least_outstanding"
    speculative: Speculative | None = None
    pools: Pools | None = None
    transfer: Transfer | None = None
    workload: Workload
    slo: Slo = Slo()
    warmup_s: Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)] = 0.0
    store: Store = Store()
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _whole(self) -> "Scenario":
        self._check_pools()
        self._check_speculative()
        replayed = self.workload.is_replayed
        generated = isinstance(self.workload.program, ProgramSteps)
        if replayed and self.collectives.overlap != "none":
            raise ValueError(
                f"collectives.overlap: {self.collectives.overlap} is part of the prices of serving;"
                " a replay runs the operations of its program whole, so it needs overlap: none"
            )
        if not replayed and (self.network is not None or self.endpoint is not None):
            key = "endpoint" if self.network is None else "network"
            raise ValueError(f"{key} is for operation traces: workload.program or workload.chakra")
        if self.network is not None:
            fields = type(self).model_fields
            strange = [
                name
                for name in RACKS
                if getattr(self, name) != fields[name].get_default(call_default_factory=True)
            ]
            if generated or strange:
                found = strange[0] if strange else "a generated workload.program"
                raise ValueError(f"network replaces {', '.join(RACKS)}; found both it and {found}")
        elif self.model is None and self.workload.chakra is None:
            raise ValueError("model is missing")
        elif self.endpoint is not None and self.workload.chakra is None:
            raise ValueError("endpoint prices ranks without a model; cards have their own prices")
        return self

    @property
    def down(self) -> tuple[str, ...]:
        """Names of parts and links that are down."""
        cut = (link.match for link in self.links if not link.bandwidth_scale)
        return (*(part.match for part in self.state if part.down), *cut)

    @property
    def healthy(self) -> "Scenario":
        """The same with nothing down."""
        links = tuple(link for link in self.links if link.bandwidth_scale)
        return self.model_copy(update={"links": links, "state": ()})

    def _check_speculative(self) -> None:
        """Refuse what is not modelled together with drafts."""
        if self.speculative is None:
            return
        strange = {
            "pools": self.pools is not None,
            "an operation trace": self.workload.is_replayed,
            "scheduler.async_scheduling: true": self.scheduler.async_scheduling,
            "state, or a link that is down": bool(self.down),
        }
        found = [name for name, there in strange.items() if there]
        if found:
            raise ValueError(f"speculative is not modelled together with {' and '.join(found)}")

    def _check_pools(self) -> None:
        """Check that pools have open-loop requests, and no more cards than the cluster."""
        if self.pools is None:
            if self.transfer is not None:
                raise ValueError("transfer needs pools, and there are none")
            return
        if self.workload.is_replayed:
            raise ValueError("pools serve requests (workload.trace or workload.synthetic)")
        synthetic = self.workload.synthetic
        if synthetic and synthetic.arrivals and synthetic.arrivals.concurrency is not None:
            raise ValueError(
                "pools need open-loop arrivals (poisson, gamma, constant, a "
                "trace); found workload.synthetic.arrivals.concurrency, a closed loop"
            )
        size = self.cluster
        cards = size.racks * size.servers_per_rack * size.cards_per_server
        wanted = self.pools.prefill.cards, self.pools.decode.cards
        if sum(wanted) > cards:
            raise ValueError(
                f"pools.prefill.cards {wanted[0]} and pools.decode.cards {wanted[1]} are "
                f"{sum(wanted)} cards, the cluster has {cards}"
            )


RACKS = (
    "hardware",
    "hardware_set",
    "cluster",
    "links",
    "state",
    "model",
    "plan",
    "memory",
    "power",
    "cost",
)
"""Keys of racks and their contents; a plain network has none of them."""
