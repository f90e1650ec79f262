"""Which family reads which ``model_type``."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from workloads.model.architectures import alternating, dense, latent
from workloads.model.architectures.fields import Fields
from workloads.model.errors import ModelError
from workloads.model.shape import Model

Reader: TypeAlias = Callable[[Fields, str], Model]

ARCHITECTURES: Mapping[str, Reader] = MappingProxyType(
    {
        "llama": dense.llama,
        "mistral": dense.mistral,
        "mixtral": dense.mixtral,
        "qwen2": dense.qwen2,
        "qwen3": dense.qwen3,
        "qwen3_moe": dense.qwen3_moe,
        "qwen3_next": alternating.qwen3_next,
        "gpt_oss": alternating.gpt_oss,
        "llama4": alternating.llama4,
        "llama4_text": alternating.llama4_text,
        "deepseek_v2": latent.deepseek,
        "deepseek_v3": latent.deepseek,
        "deepseek_v32": latent.deepseek_sparse,
    }
)
"""Every architecture that is understood."""


def read_architecture(config: Mapping[str, object], name: str, where: str) -> Model:
    """Let the family that ``model_type`` names read the config; refuse an unknown one."""
    found = config.get("model_type")
    reader = ARCHITECTURES.get(found) if isinstance(found, str) else None
    if reader is None:
        near = difflib.get_close_matches(str(found), ARCHITECTURES, n=1)
        hint = f"; nearest is {near[0]!r}" if near else ""
        raise ModelError(
            f"{where}: model_type is {found!r}, which is not understood{hint}; "
            f"allowed: {', '.join(ARCHITECTURES)}"
        )
    return reader(Fields(config, where), name)
