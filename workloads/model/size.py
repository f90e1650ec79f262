"""Bytes of a model's weights and cache in given number formats."""

from workloads.formats import Format, get_format
from workloads.model.shape import Model
from workloads.model.tensors import Tensor

VECTOR_FORMAT = "fp16"
"""Norms, biases and convolution taps are read by the vector units, whose operands are FP16."""


def tensor_bytes(tensor: Tensor, weights: Format) -> int:
    """Bytes of one tensor: matrices and tables in ``weights``, blocks along k; vectors in FP16."""
    matrix = bool(tensor.product) or tensor.role == "embedding"
    kept = weights if matrix else get_format(VECTOR_FORMAT)
    return tensor.count * kept.matrix_bytes(tensor.k, tensor.n)


def weight_bytes(model: Model, weights: Format) -> int:
    """Bytes of all weights, each held once."""
    return sum(tensor_bytes(tensor, weights) for tensor in model.tensors())


def kv_bytes_per_token(model: Model, kv: Format, latent_copies: int = 1) -> int:
    """Bytes that a new token adds to the cache over all layers, full blocks assumed.

    Of two ``latent_copies`` of MLA one is without the rotary part; a format whose elements share no
    scale needs one.
    """
    again = sum(x.attention.kv_lora_rank for x in model.layers if x.attention.kind == "mla")
    twice = latent_copies > 1 and kv.block > 1
    return kv.bytes_of(model.kv_elements_per_token + (again if twice else 0))


def kv_bytes_of_sequence(model: Model, kv: Format, tokens: int, block_tokens: int = 64) -> int:
    """Bytes that the cache holds of a sequence of ``tokens`` that decodes, in whole blocks.

    A layer with a window of w tokens holds at most ``ceil(w / block_tokens) + 1`` blocks: the
    first of them may be begun. Compressed attention keeps its window and the compressed entries;
    the fixed state of recurrent layers is not among them (``Model.state_bytes_per_sequence``).
    """
    blocks = -(-tokens // block_tokens)
    elements = 0
    for layer in model.layers:
        attention = layer.attention
        window = attention.window
        held = min(blocks, -(-window // block_tokens) + 1) if window else blocks
        each = attention.kv_elements_per_token
        if attention.kind == "compressed":
            elements += attention.head_dim * held * block_tokens
            held, each = blocks, each if attention.compress else 0
        elements += each * held * block_tokens
    return kv.bytes_of(elements)
