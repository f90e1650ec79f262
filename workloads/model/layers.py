"""The values that describe one layer of a transformer. Facts only, no machine."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from workloads.model.errors import ModelError

AttentionKind: TypeAlias = Literal["gqa", "mla", "linear"]
MlpKind: TypeAlias = Literal["dense", "moe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How the tokens of one layer look at each other.

    ``gqa``: query heads share ``kv_heads`` pairs of keys and values (multi-head where they are
    equal). ``mla``: keys and values are rebuilt from a latent of ``kv_lora_rank`` and one shared
    rotary key of ``rope_dim``. ``linear``: a gated delta rule keeps a state of fixed size.
    """

    kind: AttentionKind
    heads: int
    """Query heads; value heads of a linear layer."""
    kv_heads: int
    """Key/value heads; key heads of a linear layer; equal to ``heads`` in MLA."""
    head_dim: int
    """Width of a query or key head (MLA: ``nope_dim + rope_dim``)."""
    value_dim: int
    """Width of a value head."""
    window: int = 0
    """Tokens that a query sees, itself included; 0 means all before it."""
    chunk: int = 0
    """Tokens of a chunk where attention never crosses chunks (Llama 4); 0 means none."""
    q_lora_rank: int = 0
    """MLA: width of the compressed query; 0 where queries are made in one step."""
    kv_lora_rank: int = 0
    rope_dim: int = 0
    nope_dim: int = 0
    index_heads: int = 0
    """Sparse attention (DeepSeek V3.2): heads of the indexer that picks tokens; 0 means none."""
    index_dim: int = 0
    index_tokens: int = 0
    """Tokens that the indexer picks for each query."""
    conv_kernel: int = 0
    """Linear attention: taps of the depthwise convolution over queries, keys and values."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    """Weighted norms over each query and key head (norms without weights are not counted)."""
    sinks: bool = False
    """One learned sink logit per query head."""
    output_gate: bool = False
    """A sigmoid gate on each head's output, projected with the queries."""

    def __post_init__(self) -> None:
        require_positive(self, "heads", "kv_heads", "head_dim", "value_dim")
        if self.heads % self.kv_heads:
            raise ModelError(f"{self.heads} heads do not divide over {self.kv_heads} KV heads")
        if self.kind == "mla":
            require_positive(self, "kv_lora_rank", "rope_dim", "nope_dim")
        if self.kind == "linear":
            require_positive(self, "conv_kernel")

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that a token leaves in the cache (an indexer's keys included)."""
        if self.kind == "linear":
            return 0
        if self.kind == "mla":
            return self.kv_lora_rank + self.rope_dim + self.index_dim
        return self.kv_heads * (self.head_dim + self.value_dim)

    @property
    def state_elements(self) -> int:
        """Elements that a sequence keeps whatever its length (linear attention only)."""
        if self.kind != "linear":
            return 0
        channels = 2 * self.kv_heads * self.head_dim + self.heads * self.value_dim
        matrix = self.heads * self.head_dim * self.value_dim
        return matrix + channels * (self.conv_kernel - 1)

    @property
    def irregular(self) -> str:
        """Name of what sets this apart from full, windowed or latent attention; "" for none."""
        if self.kind == "linear":
            return "linear attention"
        if self.chunk:
            return "chunked attention"
        return "sparse attention" if self.index_heads else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """The feed-forward half of a layer; always gated: down(act(gate x) * up x)."""

    kind: MlpKind
    intermediate: int
    """Width of the dense MLP, or of one routed expert."""
    experts: int = 0
    experts_per_token: int = 0
    shared_intermediate: int = 0
    """Width of all shared experts together, which see every token; 0 means none."""
    shared_gate: bool = False
    """A sigmoid gate on the shared expert's output, one number per token."""
    bias: bool = False
    """Biases on the MLP's (each expert's) projections."""
    router_bias: bool = False
    """One bias or correction per expert in the router."""

    def __post_init__(self) -> None:
        require_positive(self, "intermediate")
        if self.kind == "dense":
            return
        require_positive(self, "experts", "experts_per_token")
        if self.experts_per_token > self.experts:
            raise ModelError(
                f"{self.experts_per_token} experts per token out of only {self.experts}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer: norm, attention, norm, MLP."""

    attention: Attention
    mlp: Mlp


def require_positive(value: object, *names: str) -> None:
    """Refuse a value with a named field that is no whole number of at least 1."""
    for name in names:
        number = getattr(value, name)
        if not (isinstance(number, int) and number > 0):
            raise ModelError(f"{name} must be a whole number of at least 1, got {number!r}")
