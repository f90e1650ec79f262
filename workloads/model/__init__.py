"""A transformer's shape: its matrix products, cache per token and weights."""

from workloads.model.architectures.table import parse_config
from workloads.model.errors import ModelError
from workloads.model.layers import Attention, Layer, Mlp
from workloads.model.load import list_models, load_model
from workloads.model.modelled import not_modelled, simulation_conditions
from workloads.model.shape import Model, distinct_layers
from workloads.model.size import (
    kv_bytes_of_sequence,
    kv_bytes_per_token,
    tensor_bytes,
    weight_bytes,
)
from workloads.model.tensors import Tensor

__all__ = [
    "Attention",
    "Layer",
    "Mlp",
    "Model",
    "ModelError",
    "Tensor",
    "distinct_layers",
    "kv_bytes_of_sequence",
    "kv_bytes_per_token",
    "list_models",
    "load_model",
    "not_modelled",
    "parse_config",
    "simulation_conditions",
    "tensor_bytes",
    "weight_bytes",
]
