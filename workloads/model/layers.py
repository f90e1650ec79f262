"""The values that describe one layer of a transformer. Facts only, no machine."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from corsair_common.names import STATE
from workloads.model.errors import ModelError

AttentionKind: TypeAlias = Literal["gqa", "mla", "linear", "mamba", "compressed", "none"]
MlpKind: TypeAlias = Literal["dense", "moe", "none"]

RECURRENT = ("linear", "mamba")
"""Kinds that keep a state of fixed size per sequence in place of keys and values."""
CONVOLUTION_BYTES = 2
"""The last inputs of a convolution are kept in 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How the tokens of one layer look at each other.

    ``gqa``: query heads share ``kv_heads`` pairs of keys and values (multi-head where they are
    equal). ``mla``: keys and values are rebuilt from a latent of ``kv_lora_rank`` and one shared
    rotary key of ``rope_dim``. ``linear``: a gated delta rule keeps a state of fixed size.
    ``mamba``: a Mamba-2 mixer, ``kv_heads`` being its groups and ``head_dim`` its state's size.
    ``compressed``: one shared key-value of ``head_dim`` per ``compress`` tokens, beside a window
    (DeepSeek V4). ``none``: the layer has an MLP alone.
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
    head_gate: bool = False
    """A gate of one number per head and token, with a projection of its own."""
    qk_norm_whole: bool = False
    """Norms over all heads of the queries and of the keys together."""
    keys_are_values: bool = False
    """Values are made by the projection of the keys, which is then the only one (Gemma 4)."""
    compress: int = 0
    """Tokens that share one compressed entry; 0 means that only the window is seen."""
    output_groups: int = 0
    output_rank: int = 0
    """The output is projected by groups of heads to so wide a latent, and from there."""
    state_element_bytes: int = 2
    """Bytes of an element of the recurrent state, as the config says (4: float32)."""

    def __post_init__(self) -> None:
        if self.kind == "none":
            return
        require_positive(self, "heads", "kv_heads", "head_dim", "value_dim")
        if self.heads % self.kv_heads:
            raise ModelError(f"{self.heads} heads do not divide over {self.kv_heads} KV heads")
        if self.kind == "mla":
            require_positive(self, "kv_lora_rank", "rope_dim", "nope_dim")
        if self.kind in RECURRENT:
            require_positive(self, "conv_kernel")

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that a token leaves in the cache (an indexer's keys included).

        Compressed attention: the mean over the tokens of an entry, beyond its window.
        """
        if self.kind in (*RECURRENT, "none"):
            return 0
        if self.kind == "mla":
            return self.kv_lora_rank + self.rope_dim + self.index_dim
        if self.kind == "compressed":
            entry = self.head_dim + self.index_dim
            return entry // self.compress if self.compress else self.head_dim
        return self.kv_heads * (self.head_dim + self.value_dim) + self.index_dim

    @property
    def state_elements(self) -> int:
        """Elements that a sequence keeps whatever its length (recurrent layers only)."""
        return self._matrix_elements + self._convolution_elements

    @property
    def state_bytes(self) -> int:
        """Bytes of them: the state in its own format, the convolution's inputs in 16 bits."""
        matrix = self._matrix_elements * self.state_element_bytes
        return matrix + self._convolution_elements * CONVOLUTION_BYTES

    @property
    def held(self) -> int:
        """Window behind which its cache is freed: 0 never, STATE for a state of fixed size."""
        return STATE if self.kind in RECURRENT else self.window

    @property
    def channels(self) -> int:
        """Recurrent layers: inputs of the convolution, queries, keys and values together."""
        return 2 * self.kv_heads * self.head_dim + self.heads * self.value_dim

    @property
    def _matrix_elements(self) -> int:
        return self.heads * self.head_dim * self.value_dim if self.kind in RECURRENT else 0

    @property
    def _convolution_elements(self) -> int:
        if self.kind not in RECURRENT:
            return 0
        return self.channels * (self.conv_kernel - 1)

    @property
    def irregular(self) -> str:
        """Name of what sets this apart from full, windowed or latent attention; "" for none."""
        if self.kind in IRREGULAR_KINDS:
            return IRREGULAR_KINDS[self.kind]
        if self.chunk:
            return "chunked attention"
        return "sparse attention" if self.index_heads or self.index_tokens else ""


IRREGULAR_KINDS = {
    "linear": "linear attention",
    "mamba": "Mamba-2 layers",
    "compressed": "compressed attention",
    "none": "layers without attention",
}

NO_ATTENTION = Attention(kind="none", heads=0, kv_heads=0, head_dim=0, value_dim=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """The feed-forward half of a layer: down(act(gate x) * up x), or ``none``."""

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
    gated: bool = True
    """Without a gate: down(act(up x)), two matrices in place of three."""
    latent: int = 0
    """Width of the latent that routed experts read and write; 0: the hidden width."""

    def __post_init__(self) -> None:
        if self.kind == "none":
            return
        require_positive(self, "intermediate")
        if self.kind == "dense":
            return
        require_positive(self, "experts", "experts_per_token")
        if self.experts_per_token > self.experts:
            raise ModelError(
                f"{self.experts_per_token} experts per token out of only {self.experts}"
            )


NO_MLP = Mlp(kind="none", intermediate=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer: norm, attention, norm, MLP; either half may be absent."""

    attention: Attention
    mlp: Mlp
    output_norms: bool = False
    """Weighted norms on the outputs of attention and MLP, too (Gemma)."""
    streams: int = 1
    """Residual streams that are mixed around each half (hyper-connections)."""

    @property
    def irregular(self) -> tuple[str, ...]:
        """Names of all that a price must know of or refuse."""
        found = {
            self.attention.irregular: True,
            "layers without an MLP": self.mlp.kind == "none",
            "MLPs without a gate": self.mlp.kind != "none" and not self.mlp.gated,
            "experts in a latent space": self.mlp.latent > 0,
            "norms on outputs": self.output_norms,
            "hyper-connections": self.streams > 1,
            "gates of one number per head": self.attention.head_gate,
            "values made by the keys' projection": self.attention.keys_are_values,
        }
        return tuple(name for name, there in found.items() if name and there)


def require_positive(value: object, *names: str) -> None:
    """Refuse a value with a named field that is no whole number of at least 1."""
    for name in names:
        number = getattr(value, name)
        if not (isinstance(number, int) and number > 0):
            raise ModelError(f"{name} must be a whole number of at least 1, got {number!r}")
