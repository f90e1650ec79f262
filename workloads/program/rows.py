"""One kind of operation as a card runs it: its sizes, its arithmetic and its bytes."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from workloads.formats import Format
from workloads.model import Mlp, Model
from workloads.plan import Plan, cut
from workloads.program.schema import COMPUTE, NETWORK
from workloads.routing import ExpertTable, Routing, expert_table

CARD_PRODUCTS = ("QK^T", "softmax", "PV")
"""Over the KV cache, of a device without a fused kernel."""
CARD_INDEX_PRODUCTS = ("index QK^T", "index top-k")
CARD_STATE_PRODUCTS = ("state products", "state update")
Scope: TypeAlias = Literal["card", "stage", "expert"]


class NumberFormats(Protocol):
    """Number formats by use."""

    @property
    def weights(self) -> Format: ...

    @property
    def activations(self) -> Format: ...

    @property
    def kv(self) -> Format: ...

    @property
    def wire(self) -> Format: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramInputs:
    """A model divided by a plan, and the parameters of the engine that its program needs."""

    model: Model
    plan: Plan
    formats: NumberFormats
    max_tokens: int
    """Most tokens of a batch; with the seed it fixes which experts the tokens of a batch choose."""
    products: tuple[str, ...] = CARD_PRODUCTS
    """Operations of a device over the KV cache, in order, as its prices name them."""
    index_products: tuple[str, ...] = CARD_INDEX_PRODUCTS
    """The same of an indexer (sparse attention)."""
    state_products: tuple[str, ...] = CARD_STATE_PRODUCTS
    """The same over the states of recurrent layers."""
    layer_end_above: int | None = None
    """Tokens of a batch above which its engine adds an operation to every layer; None: never."""
    chiplets: int = 8
    """Chiplets of a card, over which it shares its work."""
    ridge_rows: int = 8
    """Rows below which an expert's weights take as long to read as they do with these."""
    expert_skew: float = 0.0
    """Zipf exponent of the routing over experts; 0 is uniform."""
    seed: int = 0
    streamed: bool = False
    """Weights are loaded for every batch, ahead of use, beside the stage's work."""
    loads: "Callable[[Row, int], int] | None" = None
    """Bytes that a product of a layer loads so; None where it is all that it reads."""
    sharded: Callable[[int, int], bool] | None = None
    """Whether a stage splits the norms of so many tokens over its chiplets; None: none does."""

    @property
    def cards(self) -> int:
        """Of a stage."""
        return self.plan.tensor_parallel_size

    @property
    def expert_ranks(self) -> int:
        return self.plan.expert_parallel_size

    def is_sharded(self, stage: int, tokens: int) -> bool:
        """Whether the norms of a batch of so many tokens are split over a stage's chiplets."""
        return self.sharded is not None and self.sharded(stage, tokens)

    def spread(self, tokens: int) -> int:
        """As many tokens on every chiplet of a stage as on the fullest."""
        ranks = self.cards * self.chiplets
        return -(-tokens // ranks) * ranks

    def width(self, size: int, cards: int | None = None) -> int:
        """The largest part of ``size`` over the cards of a stage, or over that many."""
        return len(cut(size, cards or self.cards)[0])

    def routed(self, mlp: Mlp) -> ExpertTable:
        """The hottest expert rank's load for every count of tokens."""
        return expert_table(
            Routing(
                experts=mlp.experts,
                top_k=mlp.experts_per_token,
                ranks=self.expert_ranks,
                max_tokens=self.max_tokens,
                ridge=self.ridge_rows,
                skew=self.expert_skew,
                seed=self.seed,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One operation of every card of a stage; fields as in ``PROGRAM_COLUMNS``."""

    name: str
    kind: str
    tokens: int
    stream: int = COMPUTE
    m: int = 0
    k: int = 0
    n: int = 0
    count: int = 1
    context_tokens: int = 0
    weight_class: str = ""
    weight_format: str = ""
    activation_format: str = ""
    flop: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    payload_bytes: int = 0
    collective: str = ""
    scope: Scope = "card"
    """Who takes part in a collective: the chiplets of the card alone, all cards of the stage, or
    those that slice the same experts."""
    slot: Hashable = None
    """Rows of one batch with equal slots vary alike from step to step; None: they do not."""


def matmul(inputs: ProgramInputs, name: str, weight_class: str, tokens: int, **sizes: int) -> Row:
    """A product of weights that this card holds; ``rows`` is how many rows all copies multiply."""
    formats, k, n = inputs.formats, sizes["k"], sizes["n"]
    count, m = sizes.get("count", 1), sizes["m"]
    return Row(
        name=name,
        kind="matmul",
        tokens=tokens,
        m=m,
        k=k,
        n=n,
        count=count,
        weight_class=weight_class,
        weight_format=formats.weights.name,
        activation_format=formats.activations.name,
        flop=2 * k * n * sizes.get("rows", m * count),
        read_bytes=count * formats.weights.matrix_bytes(k, n),
    )


def vector(name: str, tokens: int, *, m: int, n: int, write_bytes: int = 0) -> Row:
    """Element-wise work on m rows of n elements."""
    return Row(
        name=name, kind="vector", tokens=tokens, m=m, n=n, flop=m * n, write_bytes=write_bytes
    )


def input_norm(
    inputs: ProgramInputs, tokens: int, gather: str = "", rows: int | None = None
) -> list[Row]:
    """The norm before a half of a layer, of all tokens (or of ``rows``), or of each chiplet's own
    and a ``gather`` of what is then quantised."""
    hidden = inputs.model.hidden
    if not gather:
        return [vector("norm+quant", tokens, m=tokens if rows is None else rows, n=hidden)]
    spread = inputs.spread(tokens)
    payload = inputs.formats.activations.bytes_of(spread * hidden)
    return [
        vector("sharded norm+quant", tokens, m=spread // inputs.cards, n=hidden),
        exchange(gather, "all_gather", tokens, payload, "stage"),
    ]


def exchange(name: str, collective: str, tokens: int, payload_bytes: int, scope: Scope) -> Row:
    """A collective among the chiplets of the cards of ``scope``."""
    return Row(
        name=name,
        kind="collective",
        tokens=tokens,
        stream=NETWORK,
        payload_bytes=payload_bytes,
        collective=collective,
        scope=scope,
    )
