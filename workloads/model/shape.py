"""The whole model: layers, embeddings, and what follows from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from corsair_common.lru import LruCache, Same
from workloads.model.errors import ModelError
from workloads.model.layer_tensors import layer_tensors, outer_tensors
from workloads.model.layers import Layer, require_positive
from workloads.model.tensors import Tensor

ActiveRule: TypeAlias = Literal["all", "head", "layers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A decoder-only transformer as its config describes it."""

    name: str
    architecture: str
    """The config's ``model_type``."""
    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    tied_embeddings: bool
    """The head multiplies by the embedding table: one tensor, not two."""
    max_context: int
    """Most positions that the config allows."""
    active_rule: ActiveRule = "all"
    """Which weights outside the layers the publisher counts as active: embedding and head
    (``all``), the ``head`` alone, or neither (``layers``)."""
    quantization: str = ""
    """How the published weights are stored ("" for 16-bit floats); not counted as parameters."""
    pooling: bool = False
    """It makes a vector of each prompt, and no text: there is no head (embedding models)."""
    notes: tuple[str, ...] = ()
    """What the config describes and this shape leaves out, in words."""

    def __post_init__(self) -> None:
        require_positive(self, "hidden", "vocab", "max_context")
        if not self.layers:
            raise ModelError(f"{self.name} has no layers")

    def layer_tensors(self, layer: int) -> tuple[Tensor, ...]:
        """Every weight of one layer."""
        return layer_tensors(self.layers[layer], self.hidden, layer)

    def outer_tensors(self) -> tuple[Tensor, ...]:
        """Embedding, final norm and head; a tied head is the embedding and not listed."""
        headless = self.tied_embeddings or self.pooling
        return outer_tensors(self.hidden, self.vocab, tied=headless)

    def tensors(self) -> tuple[Tensor, ...]:
        """Every weight, layer by layer, then those outside; elements sum to the parameters."""
        return tuple(self._tensors())

    @property
    def parameters(self) -> int:
        """All weights, norms and biases included."""
        return sum(tensor.elements for tensor in self._tensors())

    @property
    def active_parameters(self) -> int:
        """Those that work on one token: all but the routed experts that are not chosen.

        Publishers differ on the embedding, of which a token reads one row: Mistral, Qwen and Meta
        count it whole, OpenAI and DeepSeek do not, MiniMax leaves the head out as well, and each
        model follows its own publisher.
        """
        idle = sum(
            tensor.elements // tensor.count * (tensor.count - self._chosen(tensor.layer))
            for tensor in self._tensors()
            if tensor.role == "expert"
        )
        headless = self.tied_embeddings or self.pooling
        tables = {"all": 0, "head": 1, "layers": 2}[self.active_rule] - headless
        return self.parameters - idle - max(0, tables) * self.hidden * self.vocab

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements that a new token adds over all layers, before any window drops it."""
        return sum(layer.attention.kv_elements_per_token for layer in self.layers)

    @property
    def state_elements_per_sequence(self) -> int:
        """Elements that a sequence keeps whatever its length (recurrent layers only)."""
        return sum(layer.attention.state_elements for layer in self.layers)

    @property
    def state_bytes_per_sequence(self) -> int:
        """Bytes that a sequence keeps whatever its length, as the config stores them."""
        return sum(layer.attention.state_bytes for layer in self.layers)

    @property
    def irregular(self) -> tuple[str, ...]:
        """Names of what a price must know about or refuse, each once."""
        return tuple(sorted({name for layer in set(self.layers) for name in layer.irregular}))

    def _chosen(self, layer: int) -> int:
        return self.layers[layer].mlp.experts_per_token

    def _tensors(self) -> Iterator[Tensor]:
        for layer in range(len(self.layers)):
            yield from self.layer_tensors(layer)
        yield from self.outer_tensors()


def distinct_layers(model: Model) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
    """The different layers of a model in their order, and the number of each layer's."""

    def made() -> tuple[tuple[Layer, ...], tuple[int, ...]]:
        numbers: dict[Layer, int] = {}
        each = tuple(numbers.setdefault(layer, len(numbers)) for layer in model.layers)
        return tuple(numbers), each

    return _LAYERS.get(Same(model), made)


_LAYERS: LruCache[tuple[tuple[Layer, ...], tuple[int, ...]]] = LruCache(16)
